"""Labels of real hands, made by hand."""

import numpy as np

from hdrvideo.validate.real_hands import HandLabel

NONE = [np.nan] * 4
RIGHT, LEFT = [100, 100, 160, 180], [300, 100, 360, 180]
GONE = HandLabel("out", None)


def hand(box, status="in", occluded=False):
    return HandLabel(status, np.array(box, dtype=np.float64), occluded)
