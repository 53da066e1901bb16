"""What is left of rows in a directory: their ids, and their pictures in whatever they are wrapped in."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from tfpdu.common import files

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
LARGEST = 4  # a picture that was enlarged by a whole factor up to this is found
LOSS = 10.0  # mean difference of pixels up to which a JPEG is that of a picture


def encoded(picture: np.ndarray, kind: str) -> bytes:
    """A picture uint8[h,w,c] as a PNG or JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(buffer, kind)
    return buffer.getvalue()


def traces(directory: Path, ids: list[str], pictures: list[np.ndarray]) -> list[Path]:
    """Files below a directory that hold one of the ids, or one of the pictures uint8[h,w,c].

    Pictures are found as raw bytes, in arrays of .npz files, and in PNG and JPEG streams, alone or as part of a larger
    picture, enlarged or not, in base64 or in records of TensorFlow and TensorBoard.
    """
    secrets = [i.encode() for i in ids] + [p.tobytes() for p in pictures]
    found = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        data = path.read_bytes()
        hit = any(secret in data for secret in secrets)
        hit = hit or any(shows(image, p, lossy) for image, lossy in images_in(data) for p in pictures)
        if hit or (path.suffix == ".npz" and any(_holds(array, pictures) for array in files.read_npz(path).values())):
            found.append(path)
    return found


def images_in(data: bytes) -> Iterator[tuple[np.ndarray, bool]]:
    """Every picture uint8[h,w,3] in some bytes, and whether its encoding loses something."""
    parts = [data, *(base64.b64decode(text) for text in re.findall(rb"(?:[A-Za-z0-9+/]{4}){12,}", data))]
    for part in parts:
        for start in re.finditer(re.escape(PNG) + b"|" + re.escape(JPEG), part):
            try:
                image = Image.open(io.BytesIO(part[start.start() :]))
                yield np.asarray(image.convert("RGB")), image.format == "JPEG"
            except (UnidentifiedImageError, OSError, SyntaxError):
                continue


def shows(image: np.ndarray, picture: np.ndarray, lossy: bool) -> bool:
    """Whether a picture uint8[h,w,c] is somewhere in an image uint8[H,W,3], perhaps enlarged."""
    rgb = np.broadcast_to(picture, (*picture.shape[:2], 3))
    if lossy:
        return image.shape == rgb.shape and float(np.abs(image.astype(int) - rgb).mean()) <= LOSS
    for factor in range(1, LARGEST + 1):
        part = rgb.repeat(factor, 0).repeat(factor, 1)
        height, width = part.shape[:2]
        if height > image.shape[0] or width > image.shape[1]:
            break
        places = np.lib.stride_tricks.sliding_window_view(image, part.shape)[:, :, 0]  # [y, x, height, width, 3]
        probe = part[height // 2, :, 0]  # few places have this row of pixels
        for y, x in np.argwhere((places[:, :, height // 2, :, 0] == probe).all(-1)):
            if (places[y, x] == part).all():
                return True
    return False


def _holds(array: np.ndarray, pictures: list[np.ndarray]) -> bool:
    if array.dtype != np.uint8 or array.ndim < 4:
        return False
    held = array.reshape(-1, *array.shape[-3:])
    return any((held == p).all(axis=(1, 2, 3)).any() for p in pictures if p.shape == held.shape[1:])
