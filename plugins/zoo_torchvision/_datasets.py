"""torchvision's classification data sets as a table. Nothing of torchvision is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from zoo.plugin import Component, Param, Value

__all__ = ["EXCLUDED", "KNOWN", "Known", "dataset_components"]

Reader: TypeAlias = Literal[
    "arrays", "batches", "paths", "pairs", "pets", "caltech", "celebrities", "pictures", "patches"
]
"""How the images and labels of an object are got at, see :mod:`zoo_torchvision._objects`."""

Splits: TypeAlias = Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One data set.

    Args:
        cls: Its class in ``torchvision.datasets``.
        summary: What it is.
        files: What torchvision expects below the root, as a person would put it there.
        archives: Downloads that are unpacked when they are put below the root by hand.
        splits: Arguments of the class for each official split.
        reader: How its images are got at.
        fetches: Whether torchvision can still download it.
        options: Argument of the class by the name of the param that sets it.
        params: What a user may set besides root and download.
        requires: Packages that the class needs.
        aliases: Other names.
        names: Class names where the class has none.
        sideways: Whether images are stored with rows and columns exchanged.
    """

    cls: str
    summary: str
    files: tuple[str, ...]
    archives: tuple[str, ...] = ()
    splits: Splits = field(default_factory=lambda: _WHOLE)
    reader: Reader = "paths"
    fetches: bool = True
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    params: tuple[Param, ...] = ()
    requires: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    sideways: bool = False


_WHOLE: Splits = {"train": {}}
_FLAG: Splits = {"train": {"train": True}, "test": {"train": False}}
_TWO: Splits = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: Splits = {**_TWO, "val": {"split": "val"}}
_VAL: Splits = {"train": {"split": "train"}, "val": {"split": "val"}}
_DIGITS = tuple("0123456789")


def _idx(folder: str) -> tuple[str, ...]:
    """Returns where the four files of the MNIST family are, unpacked."""
    return (f"{folder}/raw/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte",)


def _packed(folder: str) -> tuple[str, ...]:
    """Returns the four files as they are downloaded."""
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    return tuple(f"{folder}/raw/{part}-{kind}.gz" for part in ("train", "t10k") for kind in kinds)


def _choice(name: str, default: str, choices: tuple[str, ...], summary: str) -> Param:
    return Param(name=name, type="str", default=default, choices=choices, summary=summary)


KNOWN: Mapping[str, Known] = MappingProxyType({
    "mnist": Known(
        cls="MNIST", summary="digits, 28x28 grey, 10 classes (LeCun et al. 1998)",
        files=_idx("MNIST"), archives=_packed("MNIST"), splits=_FLAG, reader="arrays",
    ),
    "fashion-mnist": Known(
        cls="FashionMNIST", summary="clothes, 28x28 grey, 10 classes (Xiao et al. 2017)",
        files=_idx("FashionMNIST"), archives=_packed("FashionMNIST"), splits=_FLAG,
        reader="arrays", aliases=("fashionmnist", "fmnist"),
    ),
    "kmnist": Known(
        cls="KMNIST", summary="cursive Japanese letters, 28x28 grey, 10 classes (Clanuwat 2018)",
        files=_idx("KMNIST"), archives=_packed("KMNIST"), splits=_FLAG, reader="arrays",
    ),
    "qmnist": Known(
        cls="QMNIST", summary="MNIST with its lost 50,000 test digits (Yadav and Bottou 2019)",
        files=("QMNIST/raw/qmnist-{train,test}-{images-idx3-ubyte,labels-idx2-int}",),
        archives=tuple(f"QMNIST/raw/qmnist-{part}-{kind}.gz" for part in ("train", "test")
                       for kind in ("images-idx3-ubyte", "labels-idx2-int")),
        splits={"train": {"what": "train"}, "test": {"what": "test"}}, reader="arrays",
    ),
    "emnist": Known(
        cls="EMNIST", summary="handwritten letters and digits, 28x28 grey (Cohen et al. 2017)",
        files=("EMNIST/raw/emnist-SUBSET-{train,test}-{images-idx3,labels-idx1}-ubyte",),
        archives=("EMNIST/raw/gzip.zip",), splits=_FLAG, reader="arrays", sideways=True,
        options={"subset": "split"},
        params=(_choice("subset", "balanced", ("byclass", "bymerge", "balanced", "letters",
                                               "digits", "mnist"), "which of its six versions"),),
    ),
    "usps": Known(
        cls="USPS", summary="digits on envelopes, 16x16 grey, 10 classes (Hull 1994)",
        files=("usps.bz2", "usps.t.bz2"), splits=_FLAG, reader="arrays", names=_DIGITS,
    ),
    "semeion": Known(
        cls="SEMEION", summary="1,593 handwritten digits, 16x16 black and white, 10 classes",
        files=("semeion.data",), reader="arrays", names=_DIGITS,
    ),
    "cifar10": Known(
        cls="CIFAR10", summary="photos, 32x32 colour, 10 classes (Krizhevsky 2009)",
        files=("cifar-10-batches-py/{data_batch_1..5,test_batch,batches.meta}",),
        archives=("cifar-10-python.tar.gz",), reader="batches", aliases=("cifar-10",),
    ),
    "cifar100": Known(
        cls="CIFAR100", summary="photos, 32x32 colour, 100 or 20 classes (Krizhevsky 2009)",
        files=("cifar-100-python/{train,test,meta}",), archives=("cifar-100-python.tar.gz",),
        reader="batches", aliases=("cifar-100",),
        params=(_choice("labels", "fine", ("fine", "coarse"), "100 classes or 20"),),
    ),
    "svhn": Known(
        cls="SVHN", summary="house numbers, 32x32 colour, 10 classes (Netzer et al. 2011)",
        files=("train_32x32.mat", "test_32x32.mat"), splits=_TWO, reader="arrays",
        requires=("scipy",), names=_DIGITS,
    ),
    "stl10": Known(
        cls="STL10", summary="photos, 96x96 colour, 10 classes, 5,000 with labels (Coates 2011)",
        files=("stl10_binary/{train,test}_{X,y}.bin", "stl10_binary/unlabeled_X.bin",
               "stl10_binary/class_names.txt"),
        archives=("stl10_binary.tar.gz",), splits=_TWO, reader="arrays", aliases=("stl-10",),
    ),
    "fer2013": Known(
        cls="FER2013", summary="faces, 48x48 grey, 7 emotions (Goodfellow et al. 2013)",
        files=("fer2013/fer2013.csv",), splits=_TWO, reader="pictures", fetches=False,
        names=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    ),
    "pcam": Known(
        cls="PCAM", summary="tissue, 96x96 colour, tumour or not (Veeling et al. 2018)",
        files=("pcam/camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5",),
        archives=tuple(f"pcam/camelyonpatch_level_2_split_{part}_{kind}.h5.gz"
                       for part in ("train", "valid", "test") for kind in "xy"),
        splits=_THREE, reader="patches", requires=("h5py",), names=("normal", "tumour"),
    ),
    "oxford-iiit-pet": Known(
        cls="OxfordIIITPet", summary="cats and dogs, 37 breeds (Parkhi et al. 2012)",
        files=("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"),
        archives=("oxford-iiit-pet/images.tar.gz", "oxford-iiit-pet/annotations.tar.gz"),
        splits={"train": {"split": "trainval"}, "test": {"split": "test"}}, reader="pets",
        aliases=("pets", "oxford-pets"),
    ),
    "flowers102": Known(
        cls="Flowers102", summary="flowers, 102 classes, 10 images each to train (Nilsback 2008)",
        files=("flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"),
        archives=("flowers-102/102flowers.tgz", "flowers-102/imagelabels.mat",
                  "flowers-102/setid.mat"),
        splits=_THREE, requires=("scipy",), aliases=("flowers-102", "oxford-flowers"),
    ),
    "food101": Known(
        cls="Food101", summary="dishes, 101 classes, 101,000 photos (Bossard et al. 2014)",
        files=("food-101/images", "food-101/meta"), archives=("food-101.tar.gz",), splits=_TWO,
        aliases=("food-101",),
    ),
    "dtd": Known(
        cls="DTD", summary="textures in the wild, 47 classes (Cimpoi et al. 2014)",
        files=("dtd/dtd/images", "dtd/dtd/labels"), archives=("dtd/dtd-r1.0.1.tar.gz",),
        splits=_THREE, options={"partition": "partition"},
        params=(Param(name="partition", type="int", default=1, minimum=1, maximum=10,
                      summary="which of its ten splits"),),
    ),
    "eurosat": Known(
        cls="EuroSAT", summary="satellite images, 64x64 colour, 10 classes (Helber et al. 2019)",
        files=("eurosat/2750",), archives=("eurosat/EuroSAT.zip",),
    ),
    "fgvc-aircraft": Known(
        cls="FGVCAircraft", summary="aircraft, 100 variants (Maji et al. 2013)",
        files=("fgvc-aircraft-2013b/data",), archives=("fgvc-aircraft-2013b.tar.gz",),
        splits=_THREE, options={"level": "annotation_level"}, aliases=("aircraft",),
        params=(_choice("level", "variant", ("variant", "family", "manufacturer"),
                        "100, 70 or 30 classes"),),
    ),
    "stanford-cars": Known(
        cls="StanfordCars", summary="cars, 196 models (Krause et al. 2013)",
        files=("stanford_cars/cars_train", "stanford_cars/cars_test", "stanford_cars/devkit",
               "stanford_cars/cars_test_annos_withlabels.mat"),
        splits=_TWO, fetches=False, requires=("scipy",), aliases=("cars",),
    ),
    "gtsrb": Known(
        cls="GTSRB", summary="German traffic signs, 43 classes (Stallkamp et al. 2012)",
        files=("gtsrb/GTSRB/Training", "gtsrb/GTSRB/Final_Test/Images",
               "gtsrb/GT-final_test.csv"),
        archives=("gtsrb/GTSRB-Training_fixed.zip", "gtsrb/GTSRB_Final_Test_Images.zip",
                  "gtsrb/GTSRB_Final_Test_GT.zip"),
        splits=_TWO, reader="pairs",
    ),
    "caltech101": Known(
        cls="Caltech101", summary="objects, 101 classes (Fei-Fei et al. 2004)",
        files=("caltech101/101_ObjectCategories",), archives=("caltech101/caltech-101.zip",),
        reader="caltech", aliases=("caltech-101",),
    ),
    "caltech256": Known(
        cls="Caltech256", summary="objects, 257 classes (Griffin et al. 2007)",
        files=("caltech256/256_ObjectCategories",),
        archives=("caltech256/256_ObjectCategories.tar",), reader="caltech",
        aliases=("caltech-256",),
    ),
    "country211": Known(
        cls="Country211", summary="photos by country, 211 classes (Radford et al. 2021)",
        files=("country211/train", "country211/valid", "country211/test"),
        archives=("country211.tgz",), splits={**_TWO, "val": {"split": "valid"}},
    ),
    "rendered-sst2": Known(
        cls="RenderedSST2", summary="sentences as images, 2 classes (Radford et al. 2021)",
        files=("rendered-sst2/train", "rendered-sst2/valid", "rendered-sst2/test"),
        archives=("rendered-sst2.tgz",), splits=_THREE,
    ),
    "imagenette": Known(
        cls="Imagenette", summary="ten easy classes of ImageNet (Howard 2019)",
        files=("imagenette2[-320|-160]/train", "imagenette2[-320|-160]/val"),
        archives=("imagenette2.tgz", "imagenette2-320.tgz", "imagenette2-160.tgz"), splits=_VAL,
        options={"size": "size"},
        params=(_choice("size", "160px", ("full", "320px", "160px"), "shorter side"),),
    ),
    "imagenet": Known(
        cls="ImageNet", summary="ILSVRC 2012, 1,000 classes, 1.3 million photos (Deng et al. 2009)",
        files=("train", "val", "meta.bin"),
        archives=("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar",
                  "ILSVRC2012_devkit_t12.tar.gz", "meta.bin"),
        splits=_VAL, fetches=False, requires=("scipy",),
    ),
    "inaturalist": Known(
        cls="INaturalist", summary="species in nature, up to 10,000 classes (Van Horn et al. 2021)",
        files=("2021_train_mini", "2021_valid"), archives=("2021_train_mini.tgz", "2021_valid.tgz"),
        options={"version": "version", "level": "target_type"},
        params=(
            _choice("version", "2021_train_mini", ("2017", "2018", "2019", "2021_train",
                                                   "2021_train_mini"), "year"),
            _choice("level", "full", ("full", "kingdom", "phylum", "class", "order", "family",
                                      "genus", "super"), "what counts as a class"),
        ),
    ),
    "places365": Known(
        cls="Places365", summary="scenes, 365 classes, 1.8 million photos (Zhou et al. 2017)",
        files=("categories_places365.txt", "places365_{train_standard,val}.txt",
               "data_256_standard", "val_256"),
        splits={"train": {"split": "train-standard"}, "val": {"split": "val"}},
        options={"small": "small"},
        params=(Param(name="small", type="bool", default=True, summary="256 x 256 pixels"),),
    ),
    "sun397": Known(
        cls="SUN397", summary="scenes, 397 classes, 108,754 photos (Xiao et al. 2010)",
        files=("SUN397",), archives=("SUN397.tar.gz",),
    ),
    "lfw-people": Known(
        cls="LFWPeople", summary="faces, 5,749 people (Huang et al. 2007)",
        files=("lfw-py/lfw_funneled", "lfw-py/lfw-funneled.tgz", "lfw-py/people.txt",
               "lfw-py/lfw-names.txt"),
        splits={"train": {"split": "10fold"}}, fetches=False, options={"alignment": "image_set"},
        params=(_choice("alignment", "funneled", ("original", "funneled", "deepfunneled"),
                        "how faces were brought into place"),),
    ),
    "omniglot": Known(
        cls="Omniglot", summary="characters of 50 alphabets, 20 drawings each (Lake et al. 2015)",
        files=("omniglot-py/images_background", "omniglot-py/images_background.zip"),
        archives=("omniglot-py/images_background.zip", "omniglot-py/images_evaluation.zip"),
        options={"background": "background"},
        params=(Param(name="background", type="bool", default=True,
                      summary="the 964 characters of 30 alphabets, else the other 659"),),
    ),
    "celeba": Known(
        cls="CelebA", summary="faces, 40 attributes, several hold at once (Liu et al. 2015)",
        files=("celeba/img_align_celeba", "celeba/list_attr_celeba.txt",
               "celeba/list_eval_partition.txt", "celeba/identity_CelebA.txt",
               "celeba/list_bbox_celeba.txt", "celeba/list_landmarks_align_celeba.txt"),
        archives=("celeba/img_align_celeba.zip",),
        splits={**_TWO, "val": {"split": "valid"}}, reader="celebrities",
    ),
    "clevr-count": Known(
        cls="CLEVRClassification", summary="rendered scenes, number of objects (Johnson 2017)",
        files=("clevr/CLEVR_v1.0/images", "clevr/CLEVR_v1.0/scenes"),
        archives=("clevr/CLEVR_v1.0.zip",), splits=_VAL, aliases=("clevr",),
    ),
})  # fmt: skip
"""By the name of the component."""

_OTHER: Mapping[str, tuple[str, ...]] = {
    "is what --data FOLDER reads": ("ImageFolder", "DatasetFolder"),
    "is noise, for tests": ("FakeData",),
    "is a base class": ("VisionDataset",),
    "is no data set": ("wrap_dataset_for_transforms_v2",),
    "keeps a pickle beside its data": ("LSUN", "LSUNClass"),
    "is of videos": ("MovingMNIST", "Kinetics", "HMDB51", "UCF101"),
    "has captions": ("CocoCaptions", "SBU", "Flickr8k", "Flickr30k"),
    "has boxes": ("CocoDetection", "VOCDetection", "WIDERFace", "Kitti"),
    "has masks or contours": ("VOCSegmentation", "Cityscapes", "SBDataset"),
    "is of pairs": ("PhotoTour", "LFWPairs"),
    "is of optical flow": ("KittiFlow", "Sintel", "FlyingChairs", "FlyingThings3D", "HD1K"),
    "is of stereo images": (
        *("Kitti2012Stereo", "Kitti2015Stereo", "CarlaStereo", "Middlebury2014Stereo"),
        *("CREStereo", "FallingThingsStereo", "SceneFlowStereo", "SintelStereo", "InStereo2k"),
        "ETH3DStereo",
    ),
}
EXCLUDED: Mapping[str, str] = MappingProxyType(
    {name: reason for reason, names in _OTHER.items() for name in names}
)
"""Why the other classes of ``torchvision.datasets`` are no data sets of zoo."""

_COMMON = (
    Param(name="root", type="str", optional=True, summary="folder; the user's cache by default"),
    Param(name="download", type="bool", default=True, summary="fetch it where it is not there"),
)


def dataset_components() -> Iterator[Component]:
    """Yields a component for each data set of the table."""
    for name, known in KNOWN.items():
        yield Component(
            kind="dataset",
            name=name,
            target="zoo_torchvision.datasets:build",
            summary=f"torchvision: {known.summary}",
            aliases=known.aliases,
            tags=("download",) if known.fetches else ("files",),
            params=(*_COMMON, *known.params),
            preset={"dataset": name},
            requires=known.requires,
        )
