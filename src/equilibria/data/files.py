"""Files of the built-in sets that are not shipped: found here, or downloaded and checked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import MappingProxyType

from equilibria.data.reading import read_bytes

__all__ = ["BINARY_SETS", "PARTS", "fetch", "find", "folder_of", "table_path"]

VARIABLE = "EQUILIBRIA_DATA"
TIMEOUT = 30  # seconds without an answer
PARTS = ("train", "valid", "test")

BINARY_SETS = MappingProxyType(
    {  # columns, then training, validation and test rows
        "nltcs": (16, 16181, 2157, 3236),
        "msnbc": (17, 291326, 38843, 58265),
        "kdd": (64, 180092, 19907, 34955),
        "plants": (69, 17412, 2321, 3482),
        "baudio": (100, 15000, 2000, 3000),
        "jester": (100, 9000, 1000, 4116),
        "bnetflix": (100, 15000, 2000, 3000),
        "accidents": (111, 12758, 1700, 2551),
        "mushrooms": (112, 2000, 500, 5624),
        "tretail": (135, 22041, 2938, 4408),
        "pumsb_star": (163, 12262, 1635, 2452),
        "debd-dna": (180, 1600, 400, 1186),
        "kosarek": (190, 33375, 4450, 6675),
        "msweb": (294, 29441, 3270, 5000),
        "book": (500, 8700, 1159, 1739),
        "nips": (500, 400, 100, 1240),
        "tmovie": (500, 4524, 1002, 591),
        "cwebkb": (839, 2803, 558, 838),
        "cr52": (889, 6532, 1028, 1540),
        "c20ng": (910, 11293, 3764, 3764),
        "moviereview": (1001, 1600, 150, 250),
        "bbc": (1058, 1670, 225, 330),
        "voting": (1359, 1214, 200, 350),
        "ad": (1556, 2461, 327, 491),
        "mnist-binary": (784, 50000, 10000, 10000),
    }
)
"""Binary density-estimation sets (Lowd & Davis 2010; Van Haaren & Davis 2012), and MNIST binarised
once and for all (Larochelle & Murray 2011), by their names.

``dna`` is a table of its own, with a class."""

_ENDINGS = ("images-idx3-ubyte", "labels-idx1-ubyte")
_IDX = tuple(f"{part}-{ending}" for part in ("train", "t10k") for ending in _ENDINGS)
# SHA-256 of the uncompressed content, because a .gz packed anew differs from the official one.
_SUMS = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
_TABLES = {
    "house_votes_1984.csv": "f761202eda7985de12d21c797a68949c4d30073a710502f2a4760e676cd4dce9",
    "dna_splice.csv": "44f669458489c02c426fe51ad2f57a0d200665c754a5ca49be572be4fcfd5e1b",
}
_DEBD_SUMS = {  # of the training, validation and test rows
    "accidents": (
        "a76648cf00772c275b4277b21d858e235e3c6d3c5ef30beeb4958189b6bed21c",
        "fd3a80a0f411f157cf3772a057d26980bb166cb89b10cafb818a53f1ec30d46d",
        "df3f1b6c035bf3e306a7d7127320e479d2546ce14a5d6d3043e6be0925b8b414",
    ),
    "baudio": (
        "b1ec73f4aa9d4ce48b465ded865cc3d22b3f68cf6258f9e15fbef8902138add1",
        "7164d8a4943f74953f0e982002d84693fdf483e17f69e7407dc939c5ce5622fe",
        "1474f3206f1f35e099803a0f40b0cd209bdc8d787825095ef6cb23fd87ed0d05",
    ),
    "bbc": (
        "a6f0ba467ebf502ba3b37caa1f20e43ff82664dcd580be92010106cf80fb0db1",
        "f6a37bd58cdb6745725628be19dfd3b9b795082faa8ca771b8f27dbf4a5ff46d",
        "7116fce92a1f3d610cee673a974c8c9895957ee07ce6f086b431ee296aa7734a",
    ),
    "bnetflix": (
        "73c87cf0635ec734cc0726a5c644b904ff33e81ea51f1049db0e77b787ebad7c",
        "7f0a3e597c6f305f707f9ecd2b2aa523c576cdb17fdc5d902fc832ebea5163de",
        "af73990782fd2f146d96059855c4f3bbb6a7a7caefc417ff620a3ed1415a2395",
    ),
    "dna": (
        "bb8de0ca4b6ad9b610036b7a302962ebecd4b504354b14c02c7d0bee48d207d9",
        "4b0fc89cda5eaf5c75926e281afb6af99de194a546070d5b81b524ba251f4f3f",
        "fec3ae7b26804020a9c43c99828441c5e08bb76b23719368a74ad2b09af99100",
    ),
    "jester": (
        "dd93578c3359d5b234bb278bf0901c5215d83b910f7d51d7c91951a0a4c244cd",
        "91df833941e189265345898d3f63211560c2456df599f34beee8e95381ee7524",
        "346044fb561cf18f284f7e9d5896178b03048991b6ebb6f7482885fccbc16082",
    ),
    "moviereview": (
        "195729f0d72e9707abb7a901b57193bd1b1c9108bb261202170eec6c7e5e2ed1",
        "d887c7726485ca46026c3c9ab511174679cd1c96443c5410ab24fb81c8be38e3",
        "9fea48ab7422d4a1c0b5d063311e6fd3104e59c11018276f7a9e909685a856d2",
    ),
    "mushrooms": (
        "465c712c066bbbee3ccceded24bbe42b4c379df67b524e28cce9bf3a8b83f27b",
        "5a067e6854df71623415e6adc8e913cbff766637a324788882ba800907aa5385",
        "313c5f04b5d0a18bee2f2ffa264be265d09f5362aad6f714637acd9552f81aa0",
    ),
    "nips": (
        "4d744cb1f2c725405bff6ef6878df06eafbbc2a91f0510e0f3d8a508b05ec7bb",
        "b06acd8e6a701d63d4e58b5076c11c59bcd0343fb9b1fbb5997459d3e6b8ca96",
        "48711bdaffbd43aa439679785e19d9cc80c64a157fa84eadc5dce60ee4edf7bc",
    ),
    "nltcs": (
        "e547a7aedad1dd2f7177030881ab1b92c7e24ae5464c71a0f1f89daecaf52b30",
        "93bbbf5c6febdc9bc6e5b5bfab636f4dc0685ab2896d24b23dd267794c3bfcf6",
        "f9ffa6b74b27dc03bee3203d157ee31079e80b13be40d0c0093d635c25aed523",
    ),
    "plants": (
        "1fb1219ff94068d12a563f9e81f8889a1885f41e867884cff608669300c6848f",
        "47834ed318b2d74f48e4b083226ef47fd446d41986012ceae19d230574821b34",
        "95f53c033cd1d86467aec2610dc5bfe014534206c2da4919f73bcab246ab8755",
    ),
    "pumsb_star": (
        "27e610b5f9f507f94ebf8a227f8b96cc59d7eed51e06ee5d2fe8353afbc1524c",
        "6a491d1ea64eb0249dddd168fdddeef88aa21001a933eb7309603b6466187af8",
        "b2da195314ac17f9d8d171743c5f98a28ea9583332a52d34aa228ff2e11aa8e7",
    ),
    "voting": (
        "113c35bd468a0bb97772623634c1b729b76ba90674e62b68c38fe8d5ac08b341",
        "391bad94351ac4565e2f6628c917607b6e82b82ebdc52d64dd8bfbebcdae12b7",
        "c77c851edfc1fd5c275e961de3530ae406fc5c3446fa305959720273a5bbe9c8",
    ),
}
_BINARY_SUMS = (
    "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
)
HASHES = {
    f"{name}/{file}": s for name, sums in _SUMS.items() for file, s in zip(_IDX, sums, strict=True)
}
HASHES |= {f"tables/{file}": s for file, s in _TABLES.items()}
HASHES |= {
    f"debd/{name}/{name}.{part}.data": s
    for name, sums in _DEBD_SUMS.items()
    for part, s in zip(PARTS, sums, strict=True)
}
HASHES |= {
    f"binarized-mnist/binarized_mnist_{part}.amat": s
    for part, s in zip(PARTS, _BINARY_SUMS, strict=True)
}
MIRRORS = {  # the tables are not here: nobody keeps a copy of this form that could be downloaded
    "mnist": (
        "https://storage.googleapis.com/cvdf-datasets/mnist/{file}.gz",
        "https://ossci-datasets.s3.amazonaws.com/mnist/{file}.gz",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{file}.gz",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/{file}.gz",
    ),
    "binarized-mnist": (
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/{file}",
    ),
}
MIRRORS |= {
    f"debd/{name}": (f"https://github.com/arranger1044/DEBD/raw/master/datasets/{name}/{{file}}",)
    for name in _DEBD_SUMS
}


def folder_of(name: str) -> str | None:
    """What the folder of a built-in set's files is called; None where it has none."""
    if name in BINARY_SETS:
        return "binarized-mnist" if name == "mnist-binary" else f"debd/{name.removeprefix('debd-')}"
    if name in ("house-votes", "dna"):
        return "tables"
    return name if name in _SUMS else None


def find(folder: str) -> Path | None:
    """The folder here that holds every known file of such a folder, if there is one; not
    checked."""
    files = [key.rpartition("/")[2] for key in HASHES if key.startswith(f"{folder}/")]
    if not files and folder.startswith("debd/"):  # no hash of it is known
        files = [f"{folder.removeprefix('debd/')}.{part}.data" for part in PARTS]
    for place in _folders(folder) if files else ():
        if all(any(path.is_file() for path in _either(place, file)) for file in files):
            return place
    return None


def fetch(folder: str, file: str) -> tuple[bytes, str]:
    """The content of a file of a data set, checked by its SHA-256 where that is known, and its
    name.

    It is looked for in the folder that the environment variable ``EQUILIBRIA_DATA`` names, then in
    the cache, compressed or not; then it is downloaded into the cache.
    """
    folders, key = _folders(folder), f"{folder}/{file}"
    for path in (path for place in folders for path in _either(place, file)):
        if path.exists():
            return (_checked(path, key) if key in HASHES else read_bytes(path)), str(path)
    failures = []
    for mirror in MIRRORS.get(folder, ()):
        url = mirror.format(file=file)
        target = folders[-1] / url.rpartition("/")[2]
        try:
            return _download(url, target, key), str(target)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            failure = type(error).__name__ if isinstance(error, OSError) else error
            failures.append(f"{url} ({failure})")
    tried = ", ".join([str(place) for place in folders] + failures)
    network = "connect to the network, or " if folder in MIRRORS else ""
    raise ValueError(
        f"{folder}: {file} was neither found nor downloaded (tried {tried}); {network}put the "
        f"set's files, compressed or not, in a folder DIR/{folder} and set {VARIABLE}=DIR"
    )


def table_path(file: str) -> Path:
    """The place of a CSV file that is never downloaded, checked by its SHA-256."""
    folders = _folders("tables")
    for path in (folder / file for folder in folders):
        if path.exists():
            remedy = "put the right file there, or load this one by its path"
            _checked(path, f"tables/{file}", remedy)
            return path
    looked = " or ".join(map(str, folders))
    raise ValueError(
        f"{file}: not found in {looked}, and it cannot be downloaded; put the file in a folder "
        f"DIR/tables and set {VARIABLE}=DIR, or load a file of your own by its path"
    )


def _either(folder: Path, file: str) -> tuple[Path, Path]:
    """A file compressed and not."""
    return folder / f"{file}.gz", folder / file


def _folders(name: str) -> list[Path]:
    import pooch

    own = os.environ.get(VARIABLE)
    cache = Path(pooch.os_cache("equilibria"))
    return [folder / name for folder in ([Path(os.path.expanduser(own))] if own else []) + [cache]]


def _checked(path: Path, key: str, remedy: str = "delete the file and load again") -> bytes:
    content = read_bytes(path)
    actual = hashlib.sha256(content).hexdigest()
    if actual != HASHES[key]:
        what = f"its content has SHA-256 {actual}, expected {HASHES[key]}"
        raise ValueError(f"{path}: {what}; {remedy}")
    return content


def _download(url: str, target: Path, key: str) -> bytes:
    """Download aside, check, rename: what the cache holds under its own name is whole."""
    import pooch

    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        pooch.HTTPDownloader(chunk_size=1 << 16, timeout=TIMEOUT)(url, str(aside), None)
        content = _checked(aside, key, "try again")
        os.replace(aside, target)
        return content
    finally:
        aside.unlink(missing_ok=True)
