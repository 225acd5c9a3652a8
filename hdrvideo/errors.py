"""The errors a user can meet; each text says what, the value, the limit and the remedy.

::

    HdrVideoError                 anything below; the command line prints it in one line, exit 1
    ├── ClipError                 a clip cannot be used
    │   ├── ClipNotFoundError     no such file, folder or pattern
    │   ├── NotAVideoError        the file holds no pictures (audio only, text, damaged header)
    │   └── EmptyClipError        a video stream without one decodable frame
    ├── DecodeError               the decoder failed in a way that cannot be skipped
    ├── SeekError                 a frame index outside the clip
    ├── WriteError                an output cannot be written (exists, folder missing, disk)
    ├── TrackError                a track file cannot be read or does not fit the clip
    ├── SettingsError             a setting is unknown or outside its range
    ├── ProtocolError             scores of different protocols were mixed
    ├── DataError                 made data, textures or a data set cannot be used
    ├── WeightsError              weights are missing or do not fit the net
    ├── TrainingError             a training run cannot start, or cannot go on
    └── ShapeError                an array that crosses a stage has the wrong shape, type or range
"""


class HdrVideoError(Exception):
    """Base of all errors that a user can meet."""


class ClipError(HdrVideoError):
    """A clip cannot be used."""


class ClipNotFoundError(ClipError):
    """No such file, folder or pattern."""


class NotAVideoError(ClipError):
    """The file exists but holds no pictures."""


class EmptyClipError(ClipError):
    """A video stream without one decodable frame."""


class DecodeError(HdrVideoError):
    """The decoder failed in a way that cannot be skipped."""


class SeekError(HdrVideoError):
    """A frame index outside the clip."""


class WriteError(HdrVideoError):
    """An output cannot be written."""


class TrackError(HdrVideoError):
    """A track file cannot be read, or does not fit the clip."""


class SettingsError(HdrVideoError):
    """A setting is unknown or outside its range."""


class ProtocolError(HdrVideoError):
    """Scores of different protocols were mixed, or a protocol's own rule is broken."""


class DataError(HdrVideoError):
    """Made data, textures, backgrounds or a data set cannot be used."""


class WeightsError(HdrVideoError):
    """Weights are missing or do not fit the net."""


class TrainingError(HdrVideoError):
    """A training run cannot start, or cannot go on."""


class ShapeError(HdrVideoError):
    """An array that crosses a stage has the wrong shape, type or range."""


class NotGivenError(ShapeError):
    """A protocol looks at an array that a truth or a prediction does not have.

    Attributes:
        array: Its name.
    """

    def __init__(self, message: str, array: str) -> None:
        super().__init__(message)
        self.array = array
