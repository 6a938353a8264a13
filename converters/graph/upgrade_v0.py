"""Upgrade V0 to V1: fold padding layers into their readers, move flat layer fields to parameter messages."""

from __future__ import annotations

from matnet.converters.files import layer_types
from matnet.converters.files.message import Message
from matnet.errors import FileFormatError

_CONV, _IP, _POOL, _DATA = "CONVOLUTION", "INNER_PRODUCT", "POOLING", "DATA"
_IMAGES, _WINDOWS = "IMAGE_DATA", "WINDOW_DATA"

_FIELDS: dict[str, dict[str, str]] = {
    "num_output": {_CONV: "convolution_param.num_output", _IP: "inner_product_param.num_output"},
    "biasterm": {_CONV: "convolution_param.bias_term", _IP: "inner_product_param.bias_term"},
    "weight_filler": {_CONV: "convolution_param.weight_filler", _IP: "inner_product_param.weight_filler"},
    "bias_filler": {_CONV: "convolution_param.bias_filler", _IP: "inner_product_param.bias_filler"},
    "pad": {_CONV: "convolution_param.pad", _POOL: "pooling_param.pad"},
    "kernelsize": {_CONV: "convolution_param.kernel_size", _POOL: "pooling_param.kernel_size"},
    "group": {_CONV: "convolution_param.group"},
    "stride": {_CONV: "convolution_param.stride", _POOL: "pooling_param.stride"},
    "pool": {_POOL: "pooling_param.pool"},
    "dropout_ratio": {"DROPOUT": "dropout_param.dropout_ratio"},
    "local_size": {"LRN": "lrn_param.local_size"},
    "alpha": {"LRN": "lrn_param.alpha"},
    "beta": {"LRN": "lrn_param.beta"},
    "k": {"LRN": "lrn_param.k"},
    "vgg_k": {"LRN": "lrn_param.k"},
    "source": {_DATA: "data_param.source", "HDF5_DATA": "hdf5_data_param.source",
               _IMAGES: "image_data_param.source", _WINDOWS: "window_data_param.source",
               "INFOGAIN_LOSS": "infogain_loss_param.source"},
    "scale": {"": "transform_param.scale"},
    "meanfile": {"": "transform_param.mean_file"},
    "cropsize": {"": "transform_param.crop_size"},
    "mirror": {"": "transform_param.mirror"},
    "batchsize": {_DATA: "data_param.batch_size", "HDF5_DATA": "hdf5_data_param.batch_size",
                  _IMAGES: "image_data_param.batch_size", _WINDOWS: "window_data_param.batch_size"},
    "rand_skip": {_DATA: "data_param.rand_skip", _IMAGES: "image_data_param.rand_skip"},
    "det_fg_threshold": {_WINDOWS: "window_data_param.fg_threshold"},
    "det_bg_threshold": {_WINDOWS: "window_data_param.bg_threshold"},
    "det_fg_fraction": {_WINDOWS: "window_data_param.fg_fraction"},
    "det_context_pad": {_WINDOWS: "window_data_param.context_pad"},
    "det_crop_mode": {_WINDOWS: "window_data_param.crop_mode"},
    "new_height": {_IMAGES: "image_data_param.new_height"},
    "new_width": {_IMAGES: "image_data_param.new_width"},
    "shuffle_images": {_IMAGES: "image_data_param.shuffle"},
    "concat_dim": {"CONCAT": "concat_param.concat_dim"},
    "hdf5_output_param": {"HDF5_OUTPUT": "hdf5_output_param"},
}
"""V0 field -> V1 layer type ("" for every type) -> V1 field."""

_SAME = ("name", "blobs", "blobs_lr", "weight_decay")
_WITHOUT_MEANING = ("type", "new_num", "new_channels", "img_aug_type", "img_sampling_type", "vis_label",
                    "channels", "save_dir", "label_rank", "top_k", "margin", "root_img_dir", "crop_meanfile")
"""Fields read elsewhere, also dropped silently by Caffe, or used only by VGG's data and loss layers."""


def upgrade_v0(net: Message, notes: list[str]) -> Message:
    """A V0 NetParameter as V1, like BVLC Caffe's UpgradeV0Net. Adds a note for every dropped field.

    Unknown type strings are kept, so that lowering can list all unknown layers. Raises FileFormatError for a padding
    layer that feeds anything other than one convolution or pooling layer.
    """
    upgraded = Message(net.type, net.source, net.position)
    for name in ("name", "input", "input_dim", "force_backward"):
        if net.has(name):
            upgraded.set(name, net.get(name))
    upgraded.set("layers", [_upgrade_layer(layer, notes) for layer in _fold_padding(net, notes)])
    return upgraded


def _type_of(layer: Message) -> str:
    return layer.get("layer").get("type")


def _fold_padding(net: Message, notes: list[str]) -> list[Message]:
    """The layers without padding layers; the reader of each gets its bottom and its pad."""
    producers: dict[str, Message | None] = dict.fromkeys(net.get("input"))
    kept = []
    for layer in net.get("layers"):
        layer = layer.shallow_copy()
        for index, bottom in enumerate(layer.get("bottom")):
            if bottom not in producers:
                raise FileFormatError(f"{layer.place('bottom')}: layer {_name_of(layer)!r} reads {bottom!r}, "
                                      "which no layer before it and no input produces")
            padding = producers[bottom]
            if padding is not None and _type_of(padding) == "padding":
                _take_over(padding, layer, index)
                notes.append(f"padding layer {_name_of(padding)!r} folded into {_name_of(layer)!r}")
        producers.update(dict.fromkeys(layer.get("top"), layer))
        if _type_of(layer) != "padding":
            kept.append(layer)
    return kept


def _name_of(layer: Message) -> str:
    return layer.get("layer").get("name")


def _take_over(padding: Message, consumer: Message, index: int) -> None:
    """Give `consumer` the pad and the bottom of the padding layer that produces its bottom `index`."""
    where = f"{padding.place()}: padding layer {_name_of(padding)!r}"
    if _type_of(consumer) not in ("conv", "pool"):
        raise FileFormatError(f"{where} feeds {_name_of(consumer)!r} of type {_type_of(consumer)!r}; "
                              "only conv and pool layers can have padding")
    counts = len(padding.get("bottom")), len(padding.get("top")), len(consumer.get("bottom"))
    if counts != (1, 1, 1):
        raise FileFormatError(f"{where} has {counts[0]} bottoms and {counts[1]} tops, and its reader "
                              f"{_name_of(consumer)!r} has {counts[2]} bottoms; expected one each")
    consumer.set("layer", consumer.get("layer").having(pad=padding.get("layer").get("pad")))
    bottoms = consumer.get("bottom")
    bottoms[index] = padding.get("bottom")[0]


def _upgrade_layer(layer: Message, notes: list[str]) -> Message:
    """One V0 connection as a V1 layer; a V1 layer is returned unchanged."""
    if not layer.has("layer"):
        return layer
    record: Message = layer.get("layer")
    upgraded = Message(layer.type, layer.source, layer.position)
    type = layer_types.V0_TO_V1.get(record.get("type"), record.get("type"))
    upgraded.set("type", type, layer.position)
    for name in ("bottom", "top"):
        if layer.has(name):
            upgraded.set(name, layer.get(name))
    for name, value in record.items():
        if name in _SAME:
            upgraded.set(name, value)
        elif name not in _WITHOUT_MEANING:
            places = _FIELDS.get(name, {})
            place = places.get(type, places.get(""))
            if place is None:
                notes.append(f"layer {record.get('name')!r}: the field `{name}` has no meaning in a "
                             f"{record.get('type')!r} layer and is dropped")
            else:
                _put(upgraded, place, value)
    return upgraded


def _put(layer: Message, place: str, value: object) -> None:
    """Set `value` at `message.field`, or as the message itself; append it to repeated fields."""
    outer, _, inner = place.partition(".")
    if not inner:
        layer.set(outer, value)
        return
    if not layer.has(outer):
        layer.set(outer, layer.get(outer))
    message: Message = layer.get(outer)
    if message.type.field(inner).repeated:
        message.append(inner, value)
    else:
        message.set(inner, value)
