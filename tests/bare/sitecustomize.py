"""First in PYTHONPATH, this takes from a process and its children what a machine that only trains may lack:
the packages of windows, films and drawings, and OpenCV's own windows."""

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType

HIDDEN = ("imageio_ffmpeg", "matplotlib", "pygame")
WINDOWS = ("destroyAllWindows", "imshow", "namedWindow", "pollKey", "waitKey")


class Hider(importlib.abc.MetaPathFinder):
    """Finds nothing where there is to be nothing, and OpenCV without its windows."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        cv2 = sys.modules.get("cv2")
        if cv2 is not None and hasattr(cv2, "imshow"):
            take_windows_from(cv2)


def take_windows_from(cv2: ModuleType) -> None:
    for name in WINDOWS:
        delattr(cv2, name)


sys.meta_path.insert(0, Hider())
