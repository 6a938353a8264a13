"""The command line of matnet.convert, and its mapping to the keywords of `convert_caffe`."""

from __future__ import annotations

import argparse
import ast
import os
from pathlib import Path
from typing import Any

from matnet.arguments import add_file_options, add_input_size, factor, given_sizes, model_help, numbers, numbers_in
from matnet.command_line import command_parser
from matnet.converters.options import CHOICES, ORDERS
from matnet.errors import FileFormatError, NetworkError, program
from matnet.foreign import refuse_foreign
from matnet.formats import FORMATS
from matnet.kinds import IMAGE, MAT, PROTOTXT, WEIGHTS, kind_of
from matnet.stated_options import refuse_idle, stated

ORIGINAL_VARIANTS = ["caffe-old", "vgg-caffe", "caffe", "caffe_0115", "caffe_6e3916", "caffe_b590f1d", "caffe_fastrcnn"]


def parser() -> argparse.ArgumentParser:
    """The parser. It also accepts the option names of MatConvNet's import-caffe.py."""
    result = command_parser(
        "convert", "MODEL [OUT.mat]", "MODEL --to-caffe STEM", "MODEL --to-onnx OUT.onnx", "MODEL --to-torch FOLDER",
        description="Convert a network into a .mat file that MatConvNet loads, or for Caffe (--to-caffe), ONNX "
        "(--to-onnx) or PyTorch (--to-torch).",
        epilog="Without OUT, convert prints its decisions and writes nothing. It does not overwrite a file that it "
        "reads, or a file of another kind. Sizes are HEIGHTxWIDTH.",
    )
    result.add_argument(
        "files",
        nargs="*",
        metavar="MODEL [OUT.mat]",
        help=f"MODEL: {model_help()}. OUT.mat: the file to write. matnet looks at the content of a file, not at its "
        "extension",
    )
    files = result.add_argument_group("files")
    _add_files(files)
    add_file_options(files)
    _add_input(result.add_argument_group("input: sizes, colours, mean, classes"))
    _add_layers(result.add_argument_group("layers and names"))
    _add_state(result.add_argument_group("reading the prototxt"))
    back = result.add_argument_group("to Caffe")
    back.add_argument(
        "--to-caffe",
        nargs="?",
        const="",
        metavar="STEM",
        help="write STEM.prototxt and STEM.caffemodel; without STEM, give --out, or --out-prototxt and "
        "--out-caffemodel",
    )
    back.add_argument("--out-prototxt", metavar="FILE", help="where to write the prototxt")
    back.add_argument("--out-caffemodel", metavar="FILE", help="where to write the weights")
    onward = result.add_argument_group("to ONNX")
    onward.add_argument("--to-onnx", metavar="OUT.onnx", help="write the network as ONNX")
    onward.add_argument(
        "--outputs",
        metavar="A,B",
        help="the outputs of the written model, as names of variables, layers or blobs; also with --to-torch (default: "
        "the network's outputs; if ONNX cannot express a layer, the inputs of the first such layers)",
    )
    torch = result.add_argument_group("to PyTorch")
    torch.add_argument("--to-torch", metavar="FOLDER", help="write the network as a folder for PyTorch, without matnet")
    return result


def _add_files(group: Any) -> None:
    group.add_argument("--prototxt", metavar="FILE", help="the definition, of any generation of Caffe")
    group.add_argument(
        "--caffemodel",
        "--caffe-data",
        metavar="FILE",
        help="the weights: .caffemodel or .caffemodel.h5; without a prototxt, also the definition",
    )
    group.add_argument(
        "--out", metavar="FILE", help="the .mat file to write; with --to-caffe the stem of .prototxt and .caffemodel"
    )
    group.add_argument(
        "--format",
        "--output-format",
        choices=FORMATS,
        default="auto",
        metavar="FORMAT",
        help="MatConvNet's format: simplenn (chains only), dagnn, or auto (default): simplenn for a chain",
    )
    group.add_argument(
        "--mat-version",
        "--version",
        choices=("5", "7.3"),
        default="5",
        help="version of the .mat file: 5 (default; at most 2 GiB per variable) or 7.3 (HDF5)",
    )
    group.add_argument(
        "--mirror", action="append", default=[], metavar="URL", help="download a known model from here first"
    )
    group.add_argument("--from", dest="carried", type=Path, metavar="FOLDER", help="folder with files of a known model")
    group.add_argument("--random-weights", action="store_true", help="build a known model with random weights")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random weights (default: 0)")
    group.add_argument(
        "--show-upgraded", action="store_true", help="print the prototxt upgraded to Caffe's current format"
    )


def _add_input(group: Any) -> None:
    add_input_size(group)
    group.add_argument(
        "--full-image-size",
        type=_full_size,
        metavar="HxW or S",
        help="size of images before the crop: height and width, or the shorter side (default: 256x256, or the mean "
        "image's size); [W,H] as in import-caffe.py",
    )
    _choice(
        group, "--color-format", "order of the Caffe network's channels; with bgr (default), the channels of the first "
        "filters are reversed, so that the .mat file takes RGB; with rgb, they are not",
    )  # fmt: skip
    group.add_argument(
        "--mean", "--average-image", metavar="FILE",
        help="mean image: .binaryproto, .npy, or .mat (mean_img); or the mean as a colour, R,G,B",
    )
    group.add_argument("--mean-values", "--average-value", type=numbers, metavar="R,G,B", help="the mean as a colour")
    _choice(
        group, "--mean-treatment", "crop (default, as Caffe does) or resize (as import-caffe.py does) a mean image "
        "that is larger than the input",
    )  # fmt: skip
    group.add_argument(
        "--scale", type=factor, metavar="X", help="factor after the mean (default: the prototxt's, or 1)"
    )
    _choice(
        group, "--preprocessing", "squash (default): bilinear to the full size; caffe, vgg-caffe, fcn: as in "
        "import-caffe.py", "--preproc", metavar="NAME",
    )  # fmt: skip
    group.add_argument(
        "--labels", "--synsets", metavar="FILE", help="classes, one per line: `n01440764 tench`, or words"
    )
    group.add_argument(
        "--class-names",
        type=_names,
        metavar="A,B,...|ilsvrc12|devkit",
        help="classes in the order of the outputs; or the 1000 classes of ImageNet by WordNet id, in Caffe's order "
        "(ilsvrc12) or in that of the development kit (devkit)",
    )


def _add_layers(group: Any) -> None:
    _switch(group, "--remove-dropout", False, "leave Dropout layers out")
    _switch(
        group, "--remove-loss", False,
        "leave losses out; by default they become what inference needs (Softmax, Sigmoid)",
    )  # fmt: skip
    group.add_argument(
        "--append-softmax",
        action="append",
        default=[],
        metavar="LAYER",
        help="add a Softmax that reads this layer; may be repeated",
    )
    _choice(group, "--merge-batchnorm", "merge a BatchNorm with the Scale after it; auto (default): if no blob is lost")
    _switch(group, "--simplify", None, "the same as --merge-batchnorm always, or never")
    _choice(
        group, "--extensions", "allow (default): write layers that MatConvNet lacks; avoid: rewrite more of them as "
        "MatConvNet's own, at the cost of a last digit or of time",
    )
    _choice(
        group, "--names", "names of variables: those of Caffe's blobs (default), or those that import-caffe.py makes "
        "(upstream)",
    )  # fmt: skip
    _choice(group, "--roi-base", "boxes count from 0 (caffe, default) or from 1 (matconvnet)")
    _choice(
        group, "--crop", "where a Crop layer without crop_param crops: where the layers' geometry aligns its inputs "
        "(default), or at 0 as in BVLC Caffe",
    )  # fmt: skip
    _switch(
        group, "--transpose", True,
        "height before width, as in MATLAB (default); --no-transpose keeps Caffe's order, and BGR",
    )  # fmt: skip


def _choice(group: Any, option: str, meaning: str, *others: str, **further: Any) -> None:
    """Add an option with the choices of the keyword of the same name; the first is the default."""
    words = CHOICES[option[2:].replace("-", "_")]
    group.add_argument(option, *others, choices=words, default=words[0], help=meaning, **further)


def _switch(group: Any, option: str, default: bool | None, meaning: str) -> None:
    group.add_argument(option, action=argparse.BooleanOptionalAction, default=default, help=meaning)


def _add_state(group: Any) -> None:
    group.add_argument(
        "--caffe-variant",
        choices=ORIGINAL_VARIANTS,
        metavar="NAME",
        help="ignored; an option of import-caffe.py, while matnet recognises the dialects of Caffe itself",
    )


# -- values -----------------------------------------------------------------------------------------


def _full_size(text: str) -> tuple[int, ...]:
    """HxW or S; in brackets [W,H] or [S], the order of import-caffe.py."""
    try:
        if text.strip().startswith(("[", "(")):
            return tuple(int(number) for number in reversed(ast.literal_eval(text)))
        return tuple(int(part) for part in text.lower().split("x"))
    except (ValueError, SyntaxError, TypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give HxW, or S for the shorter side") from None


def _names(text: str) -> list[str] | str:
    """Names separated by commas, a Python tuple as in import-caffe.py, or one of ImageNet's class orders."""
    if text in ORDERS:
        return text
    if text.strip().startswith(("(", "[")):
        try:
            return [str(name) for name in ast.literal_eval(text)]
        except (ValueError, SyntaxError, TypeError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of names") from None
    return [name.strip() for name in text.split(",")]


def sort_files(given: argparse.Namespace) -> None:
    """Assign each positional argument to `source` (a .mat file, folder or model name), prototxt, caffemodel or out.

    Existing files are recognised by content, others by suffix. Raises FileFormatError if two files have the same role.
    """
    given.source = None
    _sort_to_caffe(given)
    parts = [part for text in given.files for part in ([text] if Path(text).exists() else text.split(","))]
    for number, text in enumerate(parts):
        named = number == 0 and Path(text).suffix != ".mat"  # a model name may come with --prototxt
        started = not named and bool(given.source or given.prototxt or given.caffemodel)
        place = _place(Path(text), started) if Path(text).exists() or not given.source else "out"
        taken = getattr(given, place)
        if taken is not None:
            for file in (taken, text):
                refuse_foreign(Path(file))
            raise FileFormatError(
                f"{text}: {PLACES[place]} is already given as {taken}; expected P.prototxt W.caffemodel [OUT]"
            )
        setattr(given, place, text)


MEANS = ("--mean", "--average-image", "--mean-values", "--average-value")
"""The options that take a mean as numbers."""


def mean_as_values(given: argparse.Namespace) -> None:
    """Treat `--mean` with numbers as `--mean-values`. Raises NetworkError if both are given."""
    values = None if given.mean is None or Path(given.mean).exists() else numbers_in(given.mean)
    if values is None:
        return
    if given.mean_values is not None:
        raise NetworkError(f"--mean {given.mean} and --mean-values both give the mean as a colour; give one of them")
    given.mean, given.mean_values = None, values
    given.stated["mean_values"] = given.stated.pop("mean")


def _sort_to_caffe(given: argparse.Namespace) -> None:
    """Accept `MODEL --to-caffe STEM` and the older `--to-caffe MODEL [STEM]`: MODEL joins the files, STEM is out."""
    if not given.to_caffe:
        return
    text, given.to_caffe = given.to_caffe, ""
    model = bool(given.prototxt or given.caffemodel)
    if model or (given.files and (Path(given.files[0]).exists() or not Path(text).exists())):
        if given.out is not None:
            raise FileFormatError(f"--to-caffe {text} and --out {given.out} both name the output; give one of them")
        given.out = text
    else:
        given.files.insert(0, text)


def caffe_files(given: argparse.Namespace) -> tuple[str | None, str | None]:
    """The prototxt and caffemodel to write: as named, or else built from the stem.

    Raises FileFormatError if the stem is a folder.
    """
    stem = given.out
    if stem is None:
        return given.out_prototxt, given.out_caffemodel
    if os.path.basename(stem) in ("", ".", ".."):
        raise FileFormatError(f"{stem}: is a folder; give the path of the files to write, without suffix")
    return given.out_prototxt or f"{stem}.prototxt", given.out_caffemodel or f"{stem}.caffemodel"


PLACES = {"source": "the network", "prototxt": "the definition", "caffemodel": "the weights", "out": "the output"}
DEFINITION_SUFFIXES = (".prototxt", ".prototext", ".pbtxt", ".txt")
WEIGHT_SUFFIXES = (".caffemodel", ".h5")


def _place(path: Path, started: bool) -> str:
    """The role of one positional argument. started: a network has already been named."""
    kind = kind_of_source(path)
    if kind == PROTOTXT:
        return "prototxt"
    if kind in WEIGHTS or (kind != MAT and path.suffix in WEIGHT_SUFFIXES):
        return "caffemodel"
    if started:
        return "out"
    return "prototxt" if kind not in (None, MAT, IMAGE) or path.suffix in DEFINITION_SUFFIXES else "source"


def kind_of_source(path: str | Path) -> str | None:
    """The kind of a file by its content; None if it does not exist or cannot be read."""
    try:
        return kind_of(path) if Path(path).is_file() else None
    except OSError:
        return None


CONVERSION = (
    "color_format", "mean", "mean_values", "mean_treatment", "scale", "full_image_size", "preprocessing",
    "labels", "class_names", "remove_dropout", "remove_loss", "append_softmax", "merge_batchnorm", "simplify",
    "extensions", "names", "roi_base", "crop", "transpose", "phase", "level", "stage", "lenient", "input_size",
)  # fmt: skip
"""The options that control the conversion of Caffe files."""

FORMS = {"to_caffe": "--to-caffe", "to_onnx": "--to-onnx", "to_torch": "--to-torch"}
"""The options that select an output format other than .mat."""


def conversion_options(given: argparse.Namespace) -> dict[str, Any]:
    """Keywords for `convert_caffe`, from the options on the command line."""
    options = {name: getattr(given, name) for name in CONVERSION if name in given.stated}
    if "stage" in options:
        options["stages"] = options.pop("stage")
    if "simplify" in options:
        options["merge_batchnorm"] = "always" if options.pop("simplify") else "never"
    if "input_size" in options:
        options["input_size"] = given_sizes(given)
    return options


# -- options without effect -------------------------------------------------------------------------


def refuse_idle_options(given: argparse.Namespace, of_caffe: bool, name: bool) -> None:
    """Raise MatnetError if an option has no effect.

    of_caffe: the network is converted from Caffe files. name: the source is the name of a known model.
    """
    if given.random_weights:
        if not name:
            raise NetworkError(f"--random-weights needs the name of a known model; `{program('zoo')} list` shows all")
        why = "not with --random-weights, which builds the model from its card"
        kept = {"input_size"} if _form(given) else set()
        if given.to_caffe is not None:
            kept.add("color_format")
        refuse_idle(given, [option for option in (*CONVERSION, *READ, "net") if option not in kept], why)
        beside = given.prototxt or given.caffemodel
        if beside is not None:
            raise NetworkError(f"{beside}: {why}")
    else:
        refuse_idle(given, ["seed"], "only with --random-weights")
    if not name:
        refuse_idle(given, ["mirror", "carried"], "only for known models, which matnet fetches by name")
    _refuse_idle_outputs(given)
    both = stated(given, ["merge_batchnorm", "simplify"])
    if len(both) > 1:
        raise NetworkError(f"{' and '.join(both)} set the same thing; give one of them")
    if given.source is not None and not name:
        _refuse_for_files(given, of_caffe)


READ = ("prototxt", "caffemodel", "mirror", "carried", "show_upgraded")
"""The options that name the files to read or show."""


def _form(given: argparse.Namespace) -> str | None:
    """The option that selects an output format other than .mat. Raises NetworkError if there are several."""
    several = [option for name, option in FORMS.items() if getattr(given, name) is not None]
    if len(several) > 1:
        raise NetworkError(f"{' and '.join(several)}: convert writes one format per run; give one of them")
    return several[0] if several else None


def _refuse_idle_outputs(given: argparse.Namespace) -> None:
    """Raise MatnetError for options that concern a file that is not written."""
    form = _form(given)
    if form is not None:
        refuse_idle(given, ["format", "mat_version"], f"only for .mat files; {form} does not write one")
        refuse_idle(given, ["show_upgraded"], f"not with {form}; give it alone")
    if form in ("--to-onnx", "--to-torch") and given.out is not None:
        target = given.to_onnx or given.to_torch
        raise NetworkError(f"--out {given.out} and {form} {target} both name the output; give one of them")
    if form != "--to-caffe":
        refuse_idle(given, ["out_prototxt", "out_caffemodel"], "only with --to-caffe")
    elif given.out is not None and given.out_prototxt is not None and given.out_caffemodel is not None:
        raise NetworkError(f"{given.out}: --out-prototxt and --out-caffemodel already name both files; omit it")
    if form not in ("--to-onnx", "--to-torch"):
        why = "only with --to-onnx and --to-torch; .mat and Caffe files hold the whole network"
        refuse_idle(given, ["outputs"], why)
    if given.show_upgraded and given.out is None:
        idle = ["format", "mat_version", *(name for name in CONVERSION if name not in STATE)]
        refuse_idle(given, idle, "no effect with --show-upgraded alone, which prints the prototxt; give OUT as well")


STATE = ("phase", "level", "stage", "lenient")
"""The options that select layers of a prototxt."""


def _refuse_for_files(given: argparse.Namespace, of_caffe: bool) -> None:
    """Raise MatnetError for options without effect on a complete network (a .mat file or a folder)."""
    beside = given.prototxt or given.caffemodel
    if beside is not None:
        raise NetworkError(
            f"{beside}: {given.source} is a complete network; give one of the two (--to-caffe STEM writes Caffe files)"
        )
    refuse_idle(given, ["show_upgraded"], f"needs a prototxt or a caffemodel; {given.source} is neither")
    if of_caffe:
        return
    form = _form(given)
    acting = {"labels", "class_names", "lenient", *(["input_size"] if form else [])}
    if form == "--to-caffe":
        acting.add("color_format")
    idle = [name for name in CONVERSION if name not in acting]
    refuse_idle(given, idle, f"only for Caffe models; {given.source} is not one")
