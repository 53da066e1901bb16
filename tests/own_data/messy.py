"""A folder of pictures and a table with everything that is wrong with real ones."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

HEADER = ["file", "smiling", "gender", "age", "person"]


def blobs(n, side=40, seed=0):
    """uint8[n, side, side, 3]: four by four random colours, smoothly enlarged."""
    colours = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in colours])


def people(n):
    """smiling, gender, age, person of n pictures; 4 of 5 are female, ages go on from 20 to 79."""
    return [[["no", "yes"][k % 2], "male" if k % 5 == 0 else "female", str(20 + k % 60), f"p{k}"] for k in range(n)]


def write_table(path: Path, rows: list[list[str]], delimiter: str = ",") -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([HEADER, *rows])
    return path


def write_messy(root: Path, images: np.ndarray, rows: list[list[str]]) -> tuple[Path, Path, dict[tuple[str, int], str]]:
    """Writes pictures and table; row k of the table belongs to picture k, whose file is named here.

    Args:
      root: an empty folder.
      images: uint8[n, h, w, 3], n at least 40.
      rows: smiling, gender, age, person of each picture.

    Returns:
      The folder, the table, and {(file, line of the table): words of the reason} of what has to be found; line 0
      is a picture without a row.
    """
    folder = root / "photos"
    (folder / "Größe & älter").mkdir(parents=True)
    lines, expected = [], {}
    for k, image in enumerate(images):
        name = f"Größe & älter/bär {k}.jpg" if k % 10 == 3 else f"{k:04d}.jpg"
        turned = k % 10 == 5  # the camera was: the tag says to rotate by 90 degrees clockwise
        exif = Image.Exif()
        if turned:
            exif[0x0112] = 6
        picture = Image.fromarray(np.rot90(image) if turned else image)
        picture.save(folder / name, quality=95, exif=exif)
        lines.append([name, *rows[k]])

    def fault(k, column, value, words):
        lines[k][column] = value
        expected[lines[k][0], k + 2] = words

    (folder / lines[7][0]).write_bytes((folder / lines[7][0]).read_bytes()[:300])
    expected[lines[7][0], 9] = "damaged picture"
    (folder / lines[8][0]).write_text("<html>404</html>")
    expected[lines[8][0], 10] = "not a picture"
    fault(11, 3, "", "age is unknown")
    fault(12, 3, "NA", "age is unknown")
    fault(14, 2, "unknown", "gender is unknown")
    fault(16, 3, "old", "age: 'old' is no number")
    fault(17, 1, "", "no smiling")
    fault(18, 2, lines[18][2].upper() + " ", "is read as")
    (folder / lines[19][0]).unlink()
    expected[lines[19][0], 21] = "no such file"
    (folder / "copy of 0.jpg").write_bytes((folder / lines[0][0]).read_bytes())
    lines.append(["copy of 0.jpg", *lines[0][1:]])
    expected["copy of 0.jpg", len(lines) + 1] = f"the same picture as {lines[0][0]} in row 2"
    with Image.open(folder / lines[1][0]) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "mirrored 1.jpg", quality=90)
    lines.append(["mirrored 1.jpg", *lines[1][1:]])
    expected["mirrored 1.jpg", len(lines) + 1] = f"nearly the same picture as {lines[1][0]} in row 3"
    lines.append(list(lines[2]))
    expected[lines[2][0], len(lines) + 1] = "listed already in row 4"
    Image.fromarray(images[0][::-1]).save(folder / "forgotten.png")
    expected["forgotten.png", 0] = "no row in the table"
    return folder, write_table(root / "people.csv", lines), expected
