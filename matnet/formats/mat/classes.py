"""MATLAB's numeric classes as numpy types, and conversion from the storage type of a file."""

from __future__ import annotations

import numpy as np

# MATLAB class name -> numpy type, in the order of the class numbers 6 to 15 of a MAT v5 file.
NUMERIC: dict[str, np.dtype] = {
    "double": np.dtype(np.float64),
    "single": np.dtype(np.float32),
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for bits in (8, 16, 32, 64) for sign in ("", "u")},
}


def class_name(dtype: np.dtype) -> str | None:
    """The MATLAB class of a numpy type of either byte order; None if MATLAB has no such class.

    >>> [class_name(np.dtype(name)) for name in (">f4", "c16", "bool", "f2")]
    ['single', 'double', 'logical', None]
    """
    if dtype.kind == "b":
        return "logical"
    if dtype.kind == "c":
        return {8: "single", 16: "double"}.get(dtype.itemsize)
    return next((name for name, numeric in NUMERIC.items() if numeric == dtype.newbyteorder("=")), None)


def as_class(stored: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """Convert `stored` to the numpy type of its class, in native byte order; unchanged if it already has that type.

    Writers store integer-valued doubles as uint8, int16 etc. Returns None if values do not fit into the class. Doubles
    in a single array are rounded, as in MATLAB.
    """
    if stored.dtype == dtype:
        return stored
    with np.errstate(invalid="ignore"):
        converted = stored.astype(dtype)
    fits = np.can_cast(stored.dtype, dtype) or (stored.dtype.kind == dtype.kind == "f")
    return converted if fits or np.array_equal(converted, stored) else None


def as_logical(stored: np.ndarray) -> np.ndarray:
    """Numbers as bool; any non-zero value is true."""
    logical: np.ndarray = stored != 0
    return logical


def as_complex(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """Combine both parts: complex64 from single, otherwise complex128 (numpy has no complex integers)."""
    values = np.empty(real.shape, np.complex64 if real.dtype == np.float32 else np.complex128)
    values.real = real
    values.imag = imaginary
    return values
