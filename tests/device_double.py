"""A stand-in for CuPy on machines without a GPU: arrays of its own type that refuse what CuPy's arrays refuse.

It computes with numpy, so results can be compared bit by bit, but like CuPy it never turns into a numpy array
unasked, takes no numpy array as an operand, returns arrays of no dimensions where numpy returns scalars, and
offers only functions and keywords that CuPy has. Indexing by a numpy array, which CuPy uploads silently, is refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from matnet.engines.cupy.probe import driver_version
from matnet.ops.base import Op
from tests.conftest import assert_close

UFUNCS = (
    "abs absolute add ceil divide equal exp expm1 floor fmax fmin greater invert isfinite isinf isnan less log log1p "
    "log2 logical_and logical_not logical_or maximum minimum multiply negative not_equal power reciprocal rint sign "
    "sqrt square subtract tanh true_divide trunc"
)
# Functions that CuPy 14 has, with their keywords; a test compares them with CuPy itself where it is installed.
FUNCTIONS: dict[str, str] = {
    **dict.fromkeys(UFUNCS.split(), "out dtype casting"),
    "all": "axis out keepdims", "any": "axis out keepdims", "arange": "dtype", "argmax": "axis dtype out keepdims",
    "argsort": "axis kind", "array": "dtype copy order ndmin", "asarray": "dtype order copy",
    "ascontiguousarray": "dtype", "atleast_1d": "", "atleast_2d": "", "broadcast_arrays": "", "broadcast_to": "shape",
    "clip": "a_min a_max out", "concatenate": "axis out dtype", "cumsum": "axis dtype out", "empty": "dtype order",
    "empty_like": "dtype order shape", "expand_dims": "axis", "eye": "N M k dtype", "full": "fill_value dtype order",
    "full_like": "fill_value dtype order shape", "linspace": "num endpoint dtype axis",
    "matmul": "out dtype axes axis keepdims", "max": "axis out keepdims", "mean": "axis dtype out keepdims",
    "min": "axis out keepdims", "moveaxis": "source destination", "nonzero": "", "ones": "dtype order",
    "ones_like": "dtype order shape", "outer": "out", "pad": "pad_width mode constant_values",
    "prod": "axis dtype out keepdims", "ravel": "order", "repeat": "repeats axis", "reshape": "newshape order",
    "split": "axis", "squeeze": "axis", "stack": "axis out dtype", "sum": "axis dtype out keepdims",
    "swapaxes": "axis1 axis2", "take": "indices axis out", "take_along_axis": "indices axis", "tensordot": "axes",
    "tile": "reps", "transpose": "axes", "where": "x y", "zeros": "dtype order", "zeros_like": "dtype order shape",
}  # fmt: skip
METHODS: dict[str, str] = {
    "all": "axis out keepdims", "any": "axis out keepdims", "argmax": "axis out dtype keepdims",
    "argsort": "axis kind", "astype": "dtype order casting copy", "clip": "min max out", "copy": "order",
    "cumsum": "axis dtype out", "dot": "out", "fill": "", "flatten": "order", "max": "axis out keepdims",
    "mean": "axis dtype out keepdims", "min": "axis out keepdims", "nonzero": "", "prod": "axis dtype out keepdims",
    "ravel": "order", "repeat": "axis", "reshape": "order", "squeeze": "axis", "sum": "axis dtype out keepdims",
    "swapaxes": "", "take": "axis out", "transpose": "", "view": "dtype",
}  # fmt: skip
PLAIN = {"float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool_", "newaxis", "inf", "nan", "pi"}
FROM_HOST = {"array", "asarray", "ascontiguousarray"}  # the only functions that take numpy arrays
BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")

traffic: list[str] = []  # what crossed between host and device, in order; see `watched`


@contextmanager
def watched() -> Iterator[list[str]]:
    """What crosses between host and device inside the block: 'upload', 'get', 'item', 'nonzero'."""
    traffic.clear()
    yield traffic


class DeviceArray:
    """An array that only the double's functions and its own methods can work on."""

    __array_ufunc__ = None  # numpy scalars on the left leave the operation to us
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray) -> None:
        self._host = host

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: DeviceArray(self._host.T))

    def __array__(self, *arguments: Any, **keywords: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[DeviceArray]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"DeviceArray({self._host!r})"

    def get(self) -> np.ndarray:
        """A copy on the host."""
        traffic.append("get")
        return self._host.copy()

    def item(self) -> Any:
        """The only element as a Python number."""
        traffic.append("item")
        return self._host.item()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __neg__(self) -> DeviceArray:
        return _wrapped(-self._host)

    def __invert__(self) -> DeviceArray:
        return _wrapped(~self._host)

    def __abs__(self) -> DeviceArray:
        return _wrapped(abs(self._host))

    def __getitem__(self, index: Any) -> DeviceArray:
        return _wrapped(self._host[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[_index(index)] = _operand(value)

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(f"cupy.ndarray has no {name!r} (or the double does not know it)")
        return _checked(f"ndarray.{name}", getattr(self._host, name), METHODS[name])


class Device:
    """The module that ops get as `xp`: numpy's functions for arrays of the double, as far as CuPy has them."""

    ndarray = DeviceArray

    class lib:
        """As in numpy and CuPy."""

        class stride_tricks:
            """As in numpy and CuPy."""

            @staticmethod
            def sliding_window_view(x: DeviceArray, window_shape: Any, axis: Any = None) -> DeviceArray:
                """numpy's, of a device array."""
                return DeviceArray(np.lib.stride_tricks.sliding_window_view(_operand(x), window_shape, axis))

    def __getattr__(self, name: str) -> Any:
        if name in PLAIN:
            return getattr(np, name)
        if name not in FUNCTIONS:
            raise AttributeError(f"module 'cupy' has no attribute {name!r} (or the double does not know it)")
        return _checked(name, getattr(np, name), FUNCTIONS[name])


xp = Device()


def _checked(name: str, function: Callable[..., Any], keywords: str) -> Callable[..., Any]:
    """`function` on the arrays inside device arrays, with CuPy's keywords alone."""

    def call(*arguments: Any, **named: Any) -> Any:
        unknown = set(named) - set(keywords.split())
        if unknown:
            raise TypeError(f"cupy.{name}() got an unexpected keyword argument {sorted(unknown)}")
        if name in FROM_HOST and isinstance(arguments[0], (np.ndarray, np.generic, list, tuple)):
            traffic.append("upload")
            return DeviceArray(np.array(arguments[0], *arguments[1:], **{**named, "copy": True}))
        if name.endswith("nonzero"):
            traffic.append("nonzero")
        return _wrapped(function(*map(_operand, arguments), **{key: _operand(item) for key, item in named.items()}))

    return call


def _operand(value: Any) -> Any:
    """What numpy computes with in place of `value`; TypeError for host arrays, as CuPy has it."""
    if isinstance(value, DeviceArray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(_operand(item) for item in value)
    return value


def _index(index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, DeviceArray) and part.dtype == bool for part in parts):
        traffic.append("nonzero")
    return _operand(index)


def _wrapped(result: Any) -> Any:
    if isinstance(result, (list, tuple)):
        return type(result)(map(_wrapped, result))
    return DeviceArray(np.asarray(result)) if isinstance(result, (np.ndarray, np.generic)) else result


def _operator(name: str, reflected: bool) -> Callable[[DeviceArray, Any], DeviceArray]:
    function = getattr(operator, f"{name}_" if name in ("and", "or") else name)

    def apply(self: DeviceArray, other: Any) -> DeviceArray:
        mine, theirs = self._host, _operand(other)
        return _wrapped(function(theirs, mine) if reflected else function(mine, theirs))

    return apply


def _in_place(name: str) -> Callable[[DeviceArray, Any], DeviceArray]:
    function = getattr(operator, f"i{name}")

    def apply(self: DeviceArray, other: Any) -> DeviceArray:
        self._host = function(self._host, _operand(other))
        return self

    return apply


for _name in BINARY:
    setattr(DeviceArray, f"__{_name}__", _operator(_name, reflected=False))
    setattr(DeviceArray, f"__r{_name}__", _operator(_name, reflected=True))
    setattr(DeviceArray, f"__i{_name}__", _in_place(_name))
for _name in COMPARISONS:
    setattr(DeviceArray, f"__{_name}__", _operator(_name, reflected=False))


def forward(op: Op, inputs: Sequence[np.ndarray], params: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
    """The op's outputs by numpy, after checking that the double gives the same; both get params as numpy's.

    On the device no value may cross to or from the host, unless the op says that it does. Where there is a GPU,
    CuPy itself must come as near as float32 can.
    """
    outputs = op.forward(np, list(inputs), op.prepare(np, list(params)))
    name, there = type(op).__name__, [xp.asarray(x) for x in inputs]
    prepared = op.prepare(xp, list(params))
    with watched() as crossings:
        results = op.forward(xp, there, prepared)
        assert op.uses_host or not crossings, f"{name} moves data while it runs: {crossings}"
    assert len(results) == len(outputs)
    for result, output in zip(results, outputs, strict=True):
        assert isinstance(result, DeviceArray), f"{name} gives {type(result)} on a device"
        assert (result.dtype, result.flags.c_contiguous) == (output.dtype, output.flags.c_contiguous)
        np.testing.assert_array_equal(result.get(), output)
    for x, kept in zip(there, inputs, strict=True):
        np.testing.assert_array_equal(x.get(), kept)
    cupy = cupy_on_a_gpu()
    if cupy is not None:
        found = op.forward(cupy, [cupy.asarray(x) for x in inputs], op.prepare(cupy, list(params)))
        for result, output in zip(found, outputs, strict=True):
            assert_close(result.get(), output, 1e-4, name)
    return outputs


def run(op: Op, inputs: np.ndarray | Sequence[np.ndarray], *params: Any) -> np.ndarray:
    """The one output of `op`, whose shape is the one that it foretells; params may be lists of numbers."""
    given = [inputs] if isinstance(inputs, np.ndarray) else inputs
    values = [np.asarray(param, np.float32) for param in params]
    (found,) = forward(op, given, values)
    assert op.output_shapes([x.shape for x in given], [value.shape for value in values]) == [found.shape]
    return found


def run_inputs(op: Op, *inputs: np.ndarray, params: Sequence[Any] = ()) -> np.ndarray:
    """As `run`, for an op of several inputs."""
    return run(op, inputs, *params)


@cache
def cupy_on_a_gpu() -> Any:
    """CuPy, where it is installed and there is a GPU for it; else None."""
    if driver_version() is None:
        return None
    try:
        import cupy

        return cupy if cupy.cuda.runtime.getDeviceCount() else None
    except (ImportError, RuntimeError):
        return None
