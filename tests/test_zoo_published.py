"""What was published, against the cards: no model of the source pages is missing, and no figure was copied wrongly.

The tables are copied from MatConvNet's page of pretrained models (May 2016: checksums, figures), Caffe's model zoo page
and the wiki page of community models; the counts of learned numbers were worked out by hand from the layers.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from matnet.files import models_folder
from matnet.zoo import Card, all_cards, find_card
from matnet.zoo.names import known_cards

MD5_OF_MAY_2016 = {
    "imagenet-caffe-alex": "ed49ef44caf18496291ce0c3257b0596",
    "imagenet-caffe-ref": "6d69dfa6e549012c94546658737c5885",
    "imagenet-googlenet-dag": "04cd60e8ea6a0d47742206749f624ec8",
    "imagenet-matconvnet-alex": "55743accfaf47f5c34fa50fa047143fd",
    "imagenet-matconvnet-vgg-f": "b359b6ad071155eafa35c84a78f397c7",
    "imagenet-matconvnet-vgg-m": "1bcad2e93b0cc6da3b7d1bf610582279",
    "imagenet-matconvnet-vgg-s": "314c982669e202e0d419803c54d1fb8f",
    "imagenet-matconvnet-vgg-verydeep-16": "14ece491f7311f6dc33bc3186729de5b",
    "imagenet-resnet-101-dag": "be19a35a2b4f4c46ed61df684d08b900",
    "imagenet-resnet-152-dag": "4461d3640d55aa2f58d990f7c92ff28c",
    "imagenet-resnet-50-dag": "73a3e51b75230d431c88bb795e14e91d",
    "imagenet-vgg-f": "f666c61dc968c413ef664a7e17b01144",
    "imagenet-vgg-m-1024": "d15f53a30bba3abde4377eced695adab",
    "imagenet-vgg-m-128": "779b86f55d0534d9fd322256372007a5",
    "imagenet-vgg-m-2048": "9d20b7ab01ca47617e808008da6b18cc",
    "imagenet-vgg-m": "1c164950e882b4ea11623e669a86b1c4",
    "imagenet-vgg-s": "93b683d5420c2eeaf07a6eef492f182b",
    "imagenet-vgg-verydeep-16": "7f0f9f01dfd99c7b7088d1c5a26eb483",
    "imagenet-vgg-verydeep-19": "49e623de543b207d57fab0f6eaf79a7e",
    "pascal-fcn16s-dag": "48ccac8fb5c4961815705f1f84581ec3",
    "pascal-fcn32s-dag": "bf3ca0a59d1525f63e7c28d526ee0656",
    "pascal-fcn8s-dag": "54b7ce1265a6cdd114d39d05515c73c4",
    "pascal-fcn8s-tvg-dag": "2a42dd1d2987983dacffc436cca5dabf",
    "vgg-face": "27e94d9979dad2385f901f0c360cf3bc",
}
FAST_RCNN = {  # published in September 2016
    "fast-rcnn-caffenet-pascal07-dagnn": "9dcc29b03edb5b136fda31fcd59bd025",
    "fast-rcnn-vggm1k-pascal07-dagnn": "f09a662aef88ac4c23d294eb1fb6f385",
    "fast-rcnn-vgg16-pascal07-dagnn": "961f997d7ff922f1ff6b7b20ad677a4c",
}
IMAGENET = {  # introduced, top-1 error, top-5 error, images/s
    "resnet-50-dag": (2015, 24.6, 7.7, 315.3),
    "resnet-101-dag": (2015, 23.4, 7.0, 212.7),
    "resnet-152-dag": (2015, 23.0, 6.7, 156.6),
    "matconvnet-vgg-verydeep-16": (2014, 28.3, 9.5, 184.5),
    "vgg-verydeep-19": (2014, 28.7, 9.9, 154.5),
    "vgg-verydeep-16": (2014, 28.5, 9.9, 183.1),
    "googlenet-dag": (2014, 34.2, 12.9, 501.8),
    "matconvnet-vgg-s": (2013, 37.0, 15.8, 415.9),
    "matconvnet-vgg-m": (2013, 36.9, 15.5, 623.1),
    "matconvnet-vgg-f": (2013, 41.4, 19.1, 793.1),
    "vgg-s": (2013, 36.7, 15.3, 395.4),
    "vgg-m": (2013, 37.3, 15.9, 586.9),
    "vgg-f": (2013, 41.1, 18.8, 785.7),
    "vgg-m-128": (2013, 40.8, 18.4, 588.7),
    "vgg-m-1024": (2013, 37.8, 16.1, 596.8),
    "vgg-m-2048": (2013, 37.1, 15.8, 589.4),
    "matconvnet-alex": (2012, 41.8, 19.2, 760.3),
    "caffe-ref": (2012, 42.4, 19.6, 384.8),
    "caffe-alex": (2012, 42.6, 19.6, 382.4),
}
SEGMENTATION = {  # mean IoU, pixel accuracy, mean class accuracy; the page swaps the headings of the last two
    "FNC-32s": (59.43, 89.12, 73.28),
    "FNC-16s": (62.35, 90.02, 75.74),
    "FNC-8s": (62.69, 90.33, 75.86),
    "FNC-8s-TVG": (69.85, 92.94, 78.80),
}
PARAMETERS = {
    "imagenet-caffe-alex": 60_965_224,
    "imagenet-caffe-ref": 60_965_224,
    "imagenet-matconvnet-alex": 60_965_224,
    "imagenet-vgg-f": 60_834_536,
    "imagenet-vgg-m": 102_908_520,
    "imagenet-vgg-s": 102_908_520,
    "imagenet-vgg-m-2048": 92_469_864,
    "imagenet-vgg-m-1024": 87_250_536,
    "imagenet-vgg-m-128": 82_683_624,
    "imagenet-matconvnet-vgg-f": 60_834_536,
    "imagenet-matconvnet-vgg-m": 102_908_520,
    "imagenet-matconvnet-vgg-s": 102_908_520,
    "imagenet-matconvnet-vgg-verydeep-16": 138_357_544,
    "imagenet-vgg-verydeep-16": 138_357_544,
    "imagenet-vgg-verydeep-19": 143_667_240,
    "imagenet-googlenet-dag": 13_378_280,
    "imagenet-resnet-50-dag": 25_610_216,
    "imagenet-resnet-101-dag": 44_654_504,
    "imagenet-resnet-152-dag": 60_344_232,
    "vgg-face": 145_002_878,
    "pascal-fcn32s-dag": 136_152_938,
    "pascal-fcn16s-dag": 134_816_015,
    "pascal-fcn8s-dag": 134_489_780,
    "pascal-fcn8s-tvg-dag": 134_489_780,
    "fast-rcnn-caffenet-pascal07-dagnn": 57_298_409,
    "fast-rcnn-vggm1k-pascal07-dagnn": 86_333_161,
    "fast-rcnn-vgg16-pascal07-dagnn": 134_690_729,
}
BUNDLED = {  # with Caffe: the folder, and the SHA-1 in its readme.md
    "bvlc_alexnet": "9116a64c0fbe4459d18f4bb6b56d647b63920377",
    "bvlc_reference_caffenet": "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
    "bvlc_googlenet": "405fc5acd08a3bb12de8ee5e23a96bec22f08204",
    "bvlc_reference_rcnn_ilsvrc13": "bdd8abb885819cba5e2fe1eb36235f2319477e64",
    "finetune_flickr_style": "b61b5cef7d771b53b0c488e78d35ccadc073e9cf",
}
COMMUNITY = {  # as the wiki calls it: where it links to, and the models that stand for it
    "Finetuning on Flickr Style": ("034c6ac3865563b69e60", "finetune_flickr_style"),
    "BVLC GoogleNet": ("bvlc_googlenet", "bvlc_googlenet"),
    "NIN-Imagenet": ("d802a5849de39225bcc6", "nin-imagenet"),
    "NIN-CIFAR10": ("e56253735ef32c3c296d", "nin-cifar10"),
    "VGG_CNN_S": ("fd8800eeb36e276cd6f9", "vgg-cnn-s"),
    "VGG_CNN_M": ("f194575702fae63b2829", "vgg-cnn-m"),
    "VGG_CNN_M_2048": ("78047f3591446d1d7b91", "vgg-cnn-m-2048"),
    "VGG_CNN_M_1024": ("f0f3d010e6d5f0100274", "vgg-cnn-m-1024"),
    "VGG_CNN_M_128": ("976847408258292576a1", "vgg-cnn-m-128"),
    "VGG_CNN_F": ("a32c9063ec8e1118221a", "vgg-cnn-f"),
    "VGG 16-layer": ("211839e770f7b538e2d8", "imagenet-vgg-verydeep-16"),
    "VGG 19-layer": ("3785162f95cd2d5fee77", "imagenet-vgg-verydeep-19"),
    "Places205-AlexNet": ("placesCNN.tar.gz", "places205-alexnet"),
    "Hybrid-CNN": ("hybridCNN.tar.gz", "hybrid-cnn"),
    "Places205-GoogLeNet": ("googlenet_places205.tar.gz", "places205-googlenet"),
    "Princeton GoogLeNet": ("vision.princeton.edu/pvt/GoogLeNet/", "imagenet-googlenet-dag"),
    "Princeton GoogLeNet Places": ("vision.princeton.edu/pvt/GoogLeNet/", "googlenet-princeton-places"),
    "FCN-32s PASCAL": ("ac410cad48a088710872", "pascal-fcn32s-dag"),
    "FCN-16s PASCAL": ("d24098e083bec05e456e", "pascal-fcn16s-dag"),
    "FCN-8s PASCAL": ("1bf3aa1e0b8e788d7e1d", "pascal-fcn8s-dag"),
    "FCN-AlexNet PASCAL": ("3f2c75f3c8c71357f24c", "voc-fcn-alexnet"),
    "FCN-16s SIFT Flow": ("f35e3a101e1478f721f5", "fcn-16s-sift-flow"),
    "FCN-32s NYUDv2": ("16db1e4ad3afc2614067", "fcn-32s-nyudv2"),
    "FCN-16s NYUDv2": ("dd1f5097af6b531bddcc", "fcn-16s-nyudv2"),
    "FCN-32s PASCAL-Context": ("80667189b218ad570e82", "fcn-32s-pascal-context"),
    "FCN-16s PASCAL-Context": ("08652f2ba191f64e619a", "fcn-16s-pascal-context"),
    "FCN-8s PASCAL-Context": ("91eece041c19ff8968ee", "fcn-8s-pascal-context"),
    "Oxford 102 flowers": ("0179e52305ca768a601f", "oxford102-caffenet"),
    "Subitizing AlexNet": ("0585ed9428dc5222981f", "subitizing-alexnet"),
    "Subitizing VGG16": ("27c1c0a7736ba66c2395", "subitizing-vgg16"),
    "CIFAR10-48bit": ("266d4150a1db5810398e", "cifar10-48bit"),
    "Places-CNDS-8": ("lwwang/Places_CNDS_model", "places-cnds-8"),
    "Age.net": ("c9e99062283c719c03de", "age-net"),
    "Gender.net": ("c9e99062283c719c03de", "gender-net"),
    "GoogLeNet_cars": ("b90eb88e31cd745525ae", "googlenet-cars"),
    "fully convolutional reduced VGGNet": ("2ed6e13bfd5b57cf81d6", "vgg16-fc-reduced"),
    "ParseNet PASCAL": ("45e9e8de2c13af6476ca", "parsenet-pascal"),
    "CRF-RNN PASCAL": ("torrvision/crfasrnn", "crf-rnn"),
    "HED BSDS-500": ("c6bd432f7347548b0187", "hed-bsds"),
    "Video2Text_VGG_mean_pool": ("3761b9ad43f60db9ac3d", "video2text-vgg-mean-pool"),
    "VGG Face": ("vgg_face_caffe.tar.gz", "vgg-face"),
    "Yearbook": ("842f948d568d7f1f0044", "yearbook"),
    "CCNN": ("pathak22/ccnn", "ccnn-fcn32s ccnn-fcn8s"),
}
SUCCESSORS = {  # of the pre-release FCNs, in shelhamer/fcn.berkeleyvision.org: parameters as Caffe counts them
    "voc-fcn32s": 136_152_917,
    "voc-fcn16s": 134_815_994,
    "voc-fcn8s": 134_489_759,
    "voc-fcn8s-atonce": 134_490_527,
    "voc-fcn-alexnet": 58_704_590,
    "siftflow-fcn32s": 138_905_444,
    "siftflow-fcn16s": 135_568_424,
    "siftflow-fcn8s": 134_751_980,
    "nyud-fcn32s-color": 140_978_024,
    "nyud-fcn32s-hha": 140_978_024,
    "nyud-fcn32s-color-d": 140_978_600,
    "nyud-fcn32s-color-hha": 275_402_448,
    "pascalcontext-fcn32s": 149_251_964,
    "pascalcontext-fcn16s": 138_281_144,
    "pascalcontext-fcn8s": 135_589_364,
}
WITH_WEIGHTS_OF_SUMS = {"nyud-fcn32s-color-hha": 2}  # MatConvNet's sum has none, so that they become parameters


def text_of(card: Card) -> str:
    return (card.folder / "readme.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MD5_OF_MAY_2016)
def test_a_matconvnet_file(name: str) -> None:
    card = find_card(f"{name}.mat")
    assert (card.name, card.mat) == (name, f"{name}.mat")
    assert card.md5["2016-05-02"] == MD5_OF_MAY_2016[name]
    assert card.mat_urls[0] == f"http://www.vlfeat.org/matconvnet/models/{name}.mat"
    assert card.format == ("dagnn" if name.endswith("-dag") else "simplenn")


@pytest.mark.parametrize("name", FAST_RCNN)
def test_a_fast_rcnn_file(name: str) -> None:
    assert find_card(name).md5 == {"2016-09-30": FAST_RCNN[name]}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    card = find_card(name)
    assert (card.parameters, card.parameter_bytes) == (PARAMETERS[name], 4 * PARAMETERS[name])


@pytest.mark.parametrize("row", IMAGENET)
def test_a_row_of_the_imagenet_table(row: str) -> None:
    card = find_card(row)
    figures = card.published[0].figures
    assert card.name == f"imagenet-{row}"
    assert (card.introduced, *(figures[name] for name in ("top1_error", "top5_error", "images_per_s"))) == IMAGENET[row]


@pytest.mark.parametrize("row", SEGMENTATION)
def test_a_row_of_the_segmentation_tables(row: str) -> None:
    figures = find_card(row).published[0].figures
    assert (figures["mean_iou"], figures["pixel_accuracy"], figures["mean_class_accuracy"]) == SEGMENTATION[row]


@pytest.mark.parametrize("name", BUNDLED)
def test_a_model_that_came_with_caffe(name: str) -> None:
    card = find_card(name)
    assert (card.name, card.caffemodel, card.sha1) == (name, f"{name}.caffemodel", BUNDLED[name])
    assert card.caffemodel_url == f"http://dl.caffe.berkeleyvision.org/{name}.caffemodel"
    assert card.caffe_commit and card.prototxt is not None


@pytest.mark.parametrize("name", COMMUNITY)
def test_a_community_model_is_found_by_the_name_that_the_wiki_gives_it(name: str) -> None:
    link, models = COMMUNITY[name]
    found = known_cards(name)
    assert {card.name for card in found} == set(models.split())
    assert all(link in text_of(card) for card in found)


@pytest.mark.parametrize("name", SUCCESSORS)
def test_a_successor_of_the_pre_release_fcns(name: str) -> None:
    assert find_card(name).parameters == SUCCESSORS[name] + WITH_WEIGHTS_OF_SUMS.get(name, 0)


def test_every_card_stands_for_something_published() -> None:
    known = {*MD5_OF_MAY_2016, *FAST_RCNN, *BUNDLED, *SUCCESSORS, "digits-lenet"}
    known |= {model for _, models in COMMUNITY.values() for model in models.split()}
    assert {card.name for card in all_cards() if card.folder.parent == models_folder()} == known


def test_a_model_without_a_definition_says_so() -> None:
    undefined = [card for card in all_cards() if card.prototxt is None]
    assert undefined
    for card in undefined:
        assert card.evidence and card.page, card.name
        assert not list(Path(card.folder).glob("*.prototxt")), card.name
