"""Runs the GPU engine's kernels on the processor: the same source, compiled by g++ with CUDA's words defined."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from matnet.engines.cupy.kernels import Launch
from matnet.engines.cupy.kernels.launch import source

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
COMPILER = shutil.which("g++")
FLAGS = ["-std=c++17", "-O0", "-w", "-shared", "-fPIC", "-ffp-contract=off", f"-I{HEADER.parent}"]

# The only function of a library: starts kernel `number`, or tells the bytes of its arguments and their number.
ENTRY = """
#define NAME(...) &__VA_ARGS__
#define CASE(k, name) \\
    case k: \\
        if (!sizes) return machine::start(NAME name, grid, block, values, backwards); \\
        machine::argument_sizes(NAME name, sizes); \\
        return machine::arity(NAME name);
extern "C" int start(int number, unsigned* grid, unsigned* block, void** values, int* sizes, int backwards) {
    switch (number) {
CASES
    }
    return -1;
}
"""


class Processor:
    """A machine on which kernels run; `prepare` compiles the kernels of many launches at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.libraries: dict[tuple[str, str], tuple[ctypes.CDLL, int]] = {}

    def prepare(self, launches: Iterable[Launch]) -> None:
        """Compile what the launches need, one library for each program."""
        wanted: dict[str, list[str]] = {}
        for launch in launches:
            names = wanted.setdefault(launch.program, [])
            if launch.name not in names and (launch.program, launch.name) not in self.libraries:
                names.append(launch.name)
        for program, names in wanted.items():
            if names:
                library = self._compile(program, names)
                self.libraries.update({(program, name): (library, k) for k, name in enumerate(names)})

    def usable(self) -> bool:
        """Whether the compiler knows all that the header needs; it keeps what it made of it for later."""
        header = self.folder / HEADER.name
        shutil.copyfile(HEADER, header)
        command = [str(COMPILER), *FLAGS, "-x", "c++-header", str(header), "-o", f"{header}.gch"]
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0

    def _compile(self, program: str, names: list[str]) -> ctypes.CDLL:
        path = self.folder / f"{program}-{len(self.libraries)}.cpp"
        cases = "\n".join(f"CASE({number}, ({name}))" for number, name in enumerate(names))
        path.write_text(f'#include "{HEADER.name}"\n{source(program)}\n{ENTRY.replace("CASES", cases)}')
        library = path.with_suffix(".so")
        subprocess.run([str(COMPILER), *FLAGS, str(path), "-o", str(library)], check=True, timeout=300)
        return ctypes.CDLL(str(library))

    def start(self, launch: Launch, backwards: bool = False) -> None:
        """Run one launch; AssertionError where its arguments are not of the kernel's types, or threads part."""
        self.prepare([launch])
        library, number = self.libraries[launch.program, launch.name]
        values = [_argument(item) for item in launch.arguments]
        sizes = (ctypes.c_int * 64)()
        assert library.start(number, None, None, None, sizes, 0) == len(values), launch.name
        assert sizes[: len(values)] == [value.nbytes for value in values], launch.name
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        grid, block = (ctypes.c_uint * 3)(*launch.grid), (ctypes.c_uint * 3)(*launch.block)
        assert np.prod(launch.block) <= 1024 and max(launch.grid[1:]) < 1 << 16
        assert library.start(number, grid, block, pointers, None, int(backwards)) == 0, f"{launch.name}: threads part"


def _argument(item: Any) -> np.ndarray:
    """The bytes of one argument: a pointer's, or a number's."""
    if item is None:
        return np.zeros(1, np.uint64)
    if isinstance(item, np.ndarray):
        return np.array([item.ctypes.data], np.uint64)
    return np.array([item])
