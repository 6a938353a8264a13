"""Unique Python identifiers for layers and variables."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection, Iterable

# Attributes of torch.nn.Module (2.x), which a submodule must not replace.
_OF_MODULES = """
    add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval extra_repr
    float forward get_buffer get_extra_state get_parameter get_submodule half input_names ipu load_state_dict modules
    mtia named_buffers named_children named_modules named_parameters output_names parameters register_backward_hook
    register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type xpu zero_grad T_destination
"""
OF_MODULES = frozenset(_OF_MODULES.split())
OF_CODE = frozenset({"self", "math", "torch", "nn", "F", "Tensor", "Pair", *dir(builtins)})


def identifiers(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """A unique valid identifier not in `taken` for each name; valid names are unchanged.

    >>> identifiers(["res2a/branch1", "1x1", "train", "conv-1", "conv_1"], OF_MODULES)
    {'res2a/branch1': 'res2a_branch1', '1x1': 'n1x1', 'train': 'train_', 'conv-1': 'conv_1_2', 'conv_1': 'conv_1'}
    """
    wanted = list(dict.fromkeys(names))
    used = set(taken) | {name for name in wanted if _valid(name, taken)}
    found = {}
    for name in wanted:
        if _valid(name, taken):
            found[name] = name
            continue
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "unnamed"
        plain = plain.lstrip("_") or "unnamed"
        plain = f"n{plain}" if plain[0].isdigit() else plain
        plain = f"{plain}_" if keyword.iskeyword(plain) or plain in taken else plain
        chosen, number = plain, 1
        while chosen in used:
            number += 1
            chosen = f"{plain}_{number}"
        used.add(chosen)
        found[name] = chosen
    return found


def _valid(name: str, taken: Collection[str]) -> bool:
    plain = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    return plain and name not in taken and not name.startswith("_")


def class_name(name: str, taken: Collection[str]) -> str:
    """A network's name as a class name that is not in `taken`.

    >>> class_name("imagenet-vgg-f", ()), class_name("8bit", ()), class_name("scale", {"Scale"})
    ('ImagenetVggF', 'Network8bit', 'NetworkScale')
    """
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    plain = joined.isidentifier() and not keyword.iskeyword(joined) and joined not in taken
    return joined if plain else f"Network{joined}"
