import csv
import unicodedata

import numpy as np
import pytest
from PIL import Image

from tfpdu.common import UserError
from tfpdu.data import load

RED, GREEN, BLUE, WHITE = (250, 5, 5), (5, 250, 5), (5, 5, 250), (255, 255, 255)


def quarters(width=80, height=80):
    """Red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    return Image.fromarray(pixels)


def corners(image):
    h, w, _ = image.shape
    return [tuple(int(v) for v in image[r, c]) for r in (h // 4, -h // 4) for c in (w // 4, -w // 4)]


def near(found, expected):
    return all(abs(a - b) <= 6 for f, e in zip(found, expected, strict=True) for a, b in zip(f, e, strict=True))


@pytest.fixture
def folder(tmp_path):
    """A folder of pictures; `table(header, rows)` writes its CSV."""
    root = tmp_path / "Möbel"
    (root / "grün").mkdir(parents=True)
    quarters().save(root / "plain.png")
    rotated = Image.Exif()
    rotated[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    quarters().transpose(Image.Transpose.ROTATE_90).save(root / "rotated.jpg", exif=rotated, quality=98)
    quarters(160, 80).save(root / "grün" / "bär.png")
    quarters().convert("L").save(root / "grey.png")
    quarters().quantize(8).save(root / "palette.png")
    see_through = quarters().convert("RGBA")
    see_through.putalpha(Image.fromarray(np.repeat([[255], [0]], 40, 0).repeat(80, 1).astype(np.uint8)))
    see_through.save(root / "alpha.png")
    Image.fromarray((np.arange(6400).reshape(80, 80) * 10).astype(np.uint16)).save(root / "deep.png")
    (root / "corrupt.jpg").write_bytes((root / "rotated.jpg").read_bytes()[:700])
    (root / "notes.jpg").write_text("no picture")

    def table(header, *rows, name="table.csv", delimiter=",", encoding="utf-8"):
        text = "\n".join(delimiter.join(row) for row in [header, *rows]) + "\n"
        (root / name).write_text(text, encoding=encoding)
        return str(root)

    return table


def read_problems(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [(row["file"], int(row["row"]), row["reason"]) for row in csv.DictReader(file)]


def test_pictures_come_upright_square_and_in_colour(folder, tmp_path):
    names = ["plain.png", "rotated.jpg", "grün/bär.png", "grey.png", "palette.png", "alpha.png", "deep.png"]
    root = folder(["file", "label"], *[[name, "ab"[i % 2]] for i, name in enumerate(names)])
    records = load("image_folder", directory=root, image_size=32, problems=tmp_path / "p.csv")
    picture = dict(zip(names, records.images, strict=True))
    assert records.images.shape == (7, 32, 32, 3)
    assert near(corners(picture["plain.png"]), [RED, GREEN, BLUE, WHITE])
    assert near(corners(picture["rotated.jpg"]), [RED, GREEN, BLUE, WHITE])
    assert near(corners(picture["palette.png"]), [RED, GREEN, BLUE, WHITE])
    assert near(corners(picture["alpha.png"]), [RED, GREEN, WHITE, WHITE])  # transparent is laid on white
    assert near(corners(picture["grün/bär.png"]), [RED, GREEN, BLUE, WHITE])  # the middle of a wide picture
    assert np.ptp(picture["grey.png"].astype(int), axis=2).max() == 0
    assert picture["deep.png"][0, 0, 0] <= 5
    assert picture["deep.png"][-1, -1, 0] >= 240  # 16 bits are scaled, not cut off at 255
    assert not (tmp_path / "p.csv").exists()


def test_shrinking_averages_over_areas(folder, tmp_path):
    root = folder(["file", "label"], ["plain.png", "a"], ["grey.png", "b"])
    picture = load("image_folder", directory=root, image_size=1, problems=tmp_path / "p.csv").images[0, 0, 0]
    assert near([tuple(int(v) for v in picture)], [tuple(np.mean([RED, GREEN, BLUE, WHITE], 0).round().astype(int))])


def test_faulty_rows_are_listed_and_the_rest_is_loaded(folder, tmp_path, capsys):
    root = folder(
        ["file", "label", "age", "subject"],
        ["plain.png", "cat", "20", "ann"],  # row 2
        ["gone.png", "cat", "20", "ann"],
        ["corrupt.jpg", "dog", "30", "bob"],
        ["notes.jpg", "dog", "30", "bob"],
        ["grey.png", "", "30", "bob"],
        ["palette.png", "dog", "old", "bob"],
        ["plain.png", "dog", "30", "bob"],
        ["alpha.png", "dog", "", "bob"],  # row 9: an unknown age is no fault
        ["grün/bär.png", "dog", "64", ""],
        ["", "dog", "64", ""],
        ["deep.png", "dog"],
        ["rotated.jpg", "cat", "45", "cy"],
    )
    problems = tmp_path / "run" / "problems.csv"
    records = load("image_folder", directory=root, attributes=("age:30,60",), problems=problems)
    assert [row_id.removeprefix("image_folder/") for row_id in records.ids] == [
        "plain.png",
        "alpha.png",
        "grün/bär.png",
        "rotated.jpg",
    ]
    assert records.label_names == ("cat", "dog")
    assert records.labels.tolist() == [0, 1, 1, 0]
    assert records.specs[0].values == ("<30", "30-60", ">=60")
    assert records.attributes[:, 0].tolist() == [0, -1, 2, 1]
    assert records.subjects.tolist() == ["ann", "bob", "", "cy"]
    assert near(corners(records.images[3]), [RED, GREEN, BLUE, WHITE])

    found = read_problems(problems)
    assert [(file, row) for file, row, _ in found] == [
        ("gone.png", 3), ("corrupt.jpg", 4), ("notes.jpg", 5), ("grey.png", 6), ("palette.png", 7), ("plain.png", 8),
        ("", 11), ("deep.png", 12),
    ]  # fmt: skip
    reasons = [reason for _, _, reason in found]
    for reason, words in zip(
        reasons,
        ["no such file", "damaged picture", "not a picture", "no label", "age: 'old' is no number",
         "listed already in row 2", "no file named", "2 fields, the header has 4"],
        strict=True,
    ):  # fmt: skip
        assert words in reason
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "8 of 12 rows" in said[0]
    assert str(problems) in said[0]


def test_nothing_left_is_the_users_error_and_the_list_is_written(folder, tmp_path):
    root = folder(["file", "label"], ["gone.png", "a"], ["notes.jpg", "b"])
    with pytest.raises(UserError, match=r"none of 2 rows can be used: no such file"):
        load("image_folder", directory=root, problems=tmp_path / "p.csv")
    assert len(read_problems(tmp_path / "p.csv")) == 2


def test_columns_are_attributes_unless_they_have_another_role(folder, tmp_path):
    root = folder(
        ["file", "kind", "fur", "who", "size"],
        ["plain.png", "cat", "black", "1", "9"],
        ["grey.png", "dog", "orange", "1", "10"],
        ["alpha.png", "dog", "black", "2", "NA"],
    )
    records = load("image_folder", directory=root, label="kind", subject="who", problems=tmp_path / "p.csv")
    assert [(spec.name, spec.values) for spec in records.specs] == [("fur", ("black", "orange")), ("size", ("9", "10"))]
    assert records.attributes.tolist() == [[0, 0], [1, 1], [0, -1]]
    assert records.subjects.tolist() == ["1", "1", "2"]


def test_a_label_may_be_a_quantity_in_bins(folder, tmp_path):
    root = folder(["file", "age"], ["plain.png", "3"], ["grey.png", "70"], ["alpha.png", "30"])
    records = load("image_folder", directory=root, label="age:q2", problems=tmp_path / "p.csv")
    assert records.label_names == ("<30", ">=30")
    assert records.labels.tolist() == [0, 1, 1]


def test_names_may_be_composed_here_and_decomposed_there(folder, tmp_path):
    root = folder(["file", "label"], [unicodedata.normalize("NFD", "grün/bär.png"), "a"], ["grey.png", "b"])
    records = load("image_folder", directory=root, problems=tmp_path / "p.csv")
    assert records.ids[0] == "image_folder/grün/bär.png"
    assert len(records) == 2


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_other_separators_and_byte_order_mark_are_understood(folder, tmp_path, delimiter):
    root = folder(["file", "label"], ["plain.png", "a"], ["grey.png", "b"], delimiter=delimiter, encoding="utf-8-sig")
    assert len(load("image_folder", directory=root, problems=tmp_path / "p.csv")) == 2


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (["name", "label"], {}, "column: unknown 'file'"),
        (["file", "lable"], {}, "unknown column 'label', did you mean 'lable'"),
        (["file", "label"], {"label": "labell"}, "did you mean 'label'"),
        (["file", "label"], {"subject": "person"}, "config.data.subject: unknown 'person'"),
        (["file", "label"], {"attributes": ("age:30",)}, "unknown column 'age'"),
        (["file", "file"], {}, "two columns have the same name"),
        (["file", "label"], {"table": "other.csv"}, "other.csv: no such file"),
        (["file", "label"], {"image_size": -3}, "image_size"),
    ],
)
def test_a_wrong_header_or_option_is_refused_in_one_line(folder, tmp_path, header, options, message):
    root = folder(header, ["plain.png", "a"], ["grey.png", "b"])
    with pytest.raises(UserError, match=message) as error:
        load("image_folder", directory=root, problems=tmp_path / "p.csv", **options)
    assert "\n" not in str(error.value)


def test_a_table_that_is_not_utf8_is_refused(folder):
    root = folder(["file", "label"], ["bär.png", "a"], encoding="latin-1")
    with pytest.raises(UserError, match="not a readable UTF-8 table"):
        load("image_folder", directory=root)


def test_with_two_tables_one_must_be_named(folder, tmp_path):
    folder(["file", "label"], ["plain.png", "a"], ["grey.png", "b"])
    root = folder(["file", "label"], ["plain.png", "a"], ["alpha.png", "b"], name="other.csv")
    with pytest.raises(UserError, match=r"found other\.csv, table\.csv; name the table"):
        load("image_folder", directory=root)
    records = load("image_folder", directory=root, table="other.csv", problems=tmp_path / "p.csv")
    assert records.ids[1] == "image_folder/alpha.png"


def test_a_single_class_is_refused(folder, tmp_path):
    root = folder(["file", "label"], ["plain.png", "a"], ["grey.png", "a"])
    with pytest.raises(UserError, match="'label' has only the value 'a'"):
        load("image_folder", directory=root, problems=tmp_path / "p.csv")
