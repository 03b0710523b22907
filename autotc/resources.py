"""Where the files that ship beside the code are, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from autotc.errors import DataError

_PACKAGE = Path(__file__).parent
_EXAMPLES = 10
"""Samples of each modality that an example holds."""


def search_spaces() -> Path:
    """Folder of the shipped search spaces.

    A wheel carries it as ``autotc/_search_spaces``; in a checkout it stands at the top of the repository.

    Raises:
        DataError: neither is there.
    """
    for folder in (_PACKAGE / "_search_spaces", _PACKAGE.parent / "search_spaces"):
        if folder.is_dir():
            return folder
    raise DataError(f"{_PACKAGE.parent / 'search_spaces'}: no such folder; reinstall autotc or give --space FILE")


def search_space(name: str = "default") -> Path:
    """File of a shipped search space by name, e.g. ``default``.

    Raises:
        DataError: there is none of that name.
    """
    folder = search_spaces()
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise DataError(f"search space: {name!r} is not shipped; a file or one of: {known}")
    return path


def write_example(folder: str | Path) -> list[Path]:
    """Write a search space and a small data file with its media into a folder, to start from; returns the files.

    Raises:
        DataError: the folder holds one of the files already, or cannot be written.
    """
    import json

    import numpy as np
    import soundfile
    from PIL import Image

    from autotc.tiny.config import RATE
    from autotc.tiny.scenes import AudioScene, ImageScene, VideoScene
    from autotc.tiny.sources import load_sources

    folder = Path(folder)
    space, data, media = folder / "space.yaml", folder / "data.jsonl", folder / "media"
    for path in (space, data, media):
        if path.exists():
            raise DataError(f"{path}: is there already; move it away or give another folder")
    try:
        media.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); give another folder") from error
    sources, rng = load_sources("train"), np.random.default_rng(0)
    lines, files = [], [space, data]
    for i in range(_EXAMPLES):
        image, video, audio = ImageScene(rng, sources), VideoScene(rng, sources), AudioScene(rng, sources)
        names = {"images": f"image{i}.png", "video": f"video{i}.npy", "audio": f"audio{i}.wav"}
        Image.fromarray(image.render()).save(media / names["images"])
        np.save(media / names["video"], video.render())
        soundfile.write(media / names["audio"], audio.render(), RATE)
        for key, scene in {"images": image, "video": video, "audio": audio}.items():
            question = scene.questions()[i % 2]
            files.append(media / names[key])
            line = {"id": f"{key}-{i}", key: [f"media/{names[key]}"], "prompt": question.query}
            lines.append(json.dumps({**line, "answer": question.answer}))
    space.write_text(search_space().read_text(encoding="utf-8"), encoding="utf-8")
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files
