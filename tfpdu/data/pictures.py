"""Pictures to arrays of one size: orientation, colour, centre crop, averaging over areas."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from tfpdu.common.errors import UserError


def read_picture(path: str | os.PathLike[str], size: int) -> np.ndarray:
    """Reads a picture upright and in colour, cut to its centre square and resized.

    EXIF orientation is applied; grey becomes RGB; transparent pixels are laid on white; of an animation the
    first picture counts.

    Args:
      path: any format that Pillow reads.
      size: pixels a side.

    Returns:
      uint8[size, size, 3].

    Raises:
      ValueError: the file is missing or no readable picture; the message is a short reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which does not touch the pixels
            with Image.open(path) as file:
                image = _rgb(ImageOps.exif_transpose(file))
                return np.asarray(ImageOps.fit(image, (size, size), _filter(min(image.size), size)))
    except FileNotFoundError:
        raise ValueError("no such file") from None
    except Image.UnidentifiedImageError:
        raise ValueError("not a picture that can be read") from None
    except Exception as error:  # Pillow's formats raise many kinds for damaged files
        raise ValueError(f"damaged picture ({error})".replace("\n", " ")) from None


def checked_size(size: int) -> int:
    """The pixels a side, or 0; raises `UserError` below that."""
    if size < 0:
        raise UserError(f"config.data.image_size: expected pixels a side or 0, got {size}")
    return size


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Square images in another size: averaged over areas when it shrinks, bilinear when it grows.

    Args:
      images: uint8[n, h, w, c], c 1 or 3; cut to the centre square first.
      size: pixels a side; 0 keeps the images as they are.

    Returns:
      uint8[n, size, size, c].

    Raises:
      UserError: `size` is below 0.
    """
    checked_size(size)
    n, height, width, channels = images.shape
    if not size or (height == size and width == size):
        return images
    out = np.empty((n, size, size, channels), np.uint8)

    def fill(row: int) -> None:
        image = Image.fromarray(images[row, :, :, 0] if channels == 1 else images[row])
        fitted = ImageOps.fit(image, (size, size), _filter(min(height, width), size))
        out[row] = np.asarray(fitted).reshape(size, size, channels)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # Pillow lets go of the interpreter lock
        for _ in pool.map(fill, range(n)):
            pass
    return out


def _filter(side: int, size: int) -> Image.Resampling:
    return Image.Resampling.BOX if side >= size else Image.Resampling.BILINEAR


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip at 255
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    return image.convert("RGB")
