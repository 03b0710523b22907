"""Reading the media that samples show: pictures, video and sound, from files of the user's own and from tasks."""

from autotc.evaluate.media.audio import load_audio
from autotc.evaluate.media.pictures import load_image
from autotc.evaluate.media.video import VIDEO_FORMS, Clip, load_video

__all__ = ["VIDEO_FORMS", "Clip", "load_audio", "load_image", "load_video"]
