"""Reading the media that samples show: pictures, video and sound, from files of the user's own and from tasks.

Processors are handed what they would have read themselves; whatever a decoder makes of a bad file is told in one line.
"""

from autotc.evaluate.media.audio import load_audio
from autotc.evaluate.media.pictures import as_rgb, load_image, shown_name
from autotc.evaluate.media.reading import MODALITIES, Reading, read_medium
from autotc.evaluate.media.video import FILE_SUFFIXES, VIDEO_FORMS, Clip, load_video

__all__ = [
    "FILE_SUFFIXES",
    "MODALITIES",
    "VIDEO_FORMS",
    "Clip",
    "Reading",
    "as_rgb",
    "load_audio",
    "load_image",
    "load_video",
    "read_medium",
    "shown_name",
]
