"""Real data sets by name, with fixed splits. A new one is a module and a line in the table."""

from collections.abc import Callable
from pathlib import Path

from ...simulator.errors import UserError, nearest
from .augment import Augmentation, augmented, shifted
from .cifar import cifar10
from .dataset import Dataset, Split, stratified_split
from .digits import digits
from .fashion import fashion_mnist
from .files import data_folder

__all__ = [
    "DATA_SETS",
    "Augmentation",
    "Dataset",
    "Split",
    "augmented",
    "data_folder",
    "load_data",
    "shifted",
    "stratified_split",
]

DATA_SETS: dict[str, Callable[[Path], Dataset]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
}


def load_data(name: str, folder: str | Path | None = None) -> Dataset:
    """The data set of that name, its files in `folder`/`name`.

    folder: holds a folder per data set; None for $SPARSESPIKE_DATA, or else data/ in the working directory. Files that
    are not there are downloaded from their makers; `digits` needs none.
    Raises UserError for an unknown name (naming the nearest), files that are missing and cannot be downloaded, and
    files that are damaged.
    """
    if name not in DATA_SETS:
        raise UserError(f"unknown data set {name!r}; {nearest(name, DATA_SETS)}")
    return DATA_SETS[name](data_folder(folder))
