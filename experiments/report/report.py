"""The report: one HTML page with curves, BD-rates and pictures, which works offline.

    python -m experiments.report.report experiments/results/kodak.csv --images ~/kodak \
        --chosen kodim04,kodim15 --output report.html

takes a file of rate_distortion.py and some of its pictures, and writes a page that holds everything
it needs: curves to point at, measured ones solid and published ones dashed, the table of bd_rate.py
against any anchor, and each chosen picture beside ours and the conventional codecs at equal size,
under a slider and a zoom. "Equal size" is the largest quality whose file is not larger than ours.
The pictures are stored without loss as their decoders returned them, so what one sees is what was
measured; the files' own bytes were counted and thrown away. Without --images there are no pictures,
and no model is needed.

--check opens the page in a headless Chromium, if there is one, and uses it (report_check.py).

Half a minute per picture and quality on two cores, most of it AVIF's search; about 2 MB of page for
a picture of Kodak.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import math
import os
from collections.abc import Sequence

import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

from experiments.common import program
from experiments.common.coders import CONVENTIONAL
from experiments.common.pictures import read_image
from experiments.common.program import ExperimentError
from experiments.rate_distortion import bd_rate, results
from experiments.rate_distortion.plots import DEFAULT_PUBLISHED
from experiments.report.equal_size import LADDERS, Version, choose_images, compare, ours_at
from experiments.report.report_check import check_page
from gllmm_tf import metrics
from gllmm_tf.zoo import registry

TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "template.html")


# The page's data ------------------------------------------------------------------------------


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: lossless pictures have None, which the page shows as infinite."""
    return value if value is None or math.isfinite(value) else None


def data_uri(image: np.ndarray) -> str:
    """Returns uint8 [H, W, 3] as lossless WebP in a data URI."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _version_data(version: Version, original: np.ndarray) -> dict:
    height, width = original.shape[:2]
    return {
        "codec": version.codec,
        "setting": version.setting,
        "bytes": version.size,
        "bpp": 8 * version.size / (height * width),
        "psnr": _finite(metrics.psnr(original, version.image)),
        "ms_ssim": metrics.ms_ssim(original, version.image),
        "fits": version.fits,
        "src": data_uri(version.image),
    }


def picture_data(name: str, image: np.ndarray, points: Sequence[Sequence[Version]]) -> dict:
    """Returns what the page holds of one picture: the original, and the versions per rate of ours.

    Args:
        name: of the picture.
        image: uint8 [H, W, 3], the original.
        points: as from `compare`.
    """
    original = {"codec": "original", "bytes": None, "src": data_uri(image)}
    return {
        "name": name,
        "width": image.shape[1],
        "height": image.shape[0],
        "original": original,
        "points": [{"versions": [_version_data(v, image) for v in point]} for point in points],
    }


def _average_data(codec: str, point: results.Point) -> dict:
    ms_ssim_db = None if point.ms_ssim is None else metrics.ms_ssim_db(point.ms_ssim)
    return {
        **dataclasses.asdict(point),
        "codec": codec,
        "psnr": _finite(point.psnr),
        "quality": {bd_rate.PSNR: _finite(point.psnr), bd_rate.MS_SSIM: _finite(ms_ssim_db)},
    }


def _curve_data(curve: bd_rate.Curve) -> dict:
    points = np.stack([curve.bpp, curve.quality], -1).tolist()
    return {"codec": curve.codec, "published": curve.published, "points": points}


def _bd_rate_data(curves: dict[str, list[bd_rate.Curve]], anchor: str) -> dict:
    """Returns codec -> metric -> [percent, low, high] or None, exactly as `bd_rate.table` has it."""
    return {
        codec: {m: None if r is None else [r.percent, r.low, r.high] for m, r in rates.items()}
        for codec, rates in bd_rate.table(curves, anchor).items()
    }


def headline(rows: Sequence[dict], model: str | None = None) -> dict[str, str | None]:
    """Returns which curves the page begins with: those of one model, plain and refined.

    Args:
        rows: as from `results.read_rows`.
        model: name or path; None is the shipped default.

    Returns:
        `model`: its name, or those of the models of its scale; `plain` and `refined`: names of curves
        whose settings carry their identities, without and with rounds of refinement. Where there is no
        such curve `plain` is the
        first one whose name begins with "ours", and gives the name; None if there is none either.
    """
    models = registry.names_and_identities(model)
    identities = set(models.values())
    curves = results.models_of_curves(rows)
    plain = next((c for c, made_by in curves.items() if made_by == identities), None)
    refined = (
        c
        for c, made_by in curves.items()
        if {m.partition("+")[0] for m in made_by} == identities and all("+" in m for m in made_by)
    )
    if plain is None:
        ours = (row["codec"] for row in rows if row["codec"].lower().startswith("ours"))
        plain = next(ours, None)
        return {"model": plain, "plain": plain, "refined": None}
    return {"model": " and ".join(models), "plain": plain, "refined": next(refined, None)}


def report_data(
    path: str,
    pictures: Sequence[dict] = (),
    *,
    published: str = "auto",
    anchor: str | None = None,
    title: str | None = None,
    max_bpp: float = 1.5,
    credit: str = "",
    model: str | None = None,
) -> dict:
    """Returns all that the page shows.

    Args:
        results: a file of results.py.
        pictures: as from `picture_data`.
        published: as in `bd_rate.load_curves`.
        anchor: codec that BD-rates are first shown against; None for JPEG, or what there is.
        title: of the page; None for one from the name of the results.
        max_bpp: right end of the charts at first.
        credit: line below the pictures, for their authors and licences.
        model: whose curves come first; None for the shipped default.

    Raises:
        ExperimentError: when the results cannot be read, or have no curve of the anchor.
    """
    rows = results.read_rows(path)
    averages = results.average_curve(rows)
    curves = bd_rate.load_curves(path, published)
    anchors = [curve.codec for curve in curves[bd_rate.PSNR]]
    if anchor is None:
        anchor = next((codec for codec in ["jpeg", *anchors] if codec in anchors), None)
    else:
        bd_rate.find_curve(curves[bd_rate.PSNR], anchor)
    source = os.path.basename(path)
    return {
        "title": title or f"Rate and distortion, {os.path.splitext(source)[0]}",
        "source": source,
        "credit": credit,
        "headline": headline(rows, model),
        "metrics": [bd_rate.PSNR, bd_rate.MS_SSIM],
        "columns": results.FIELDS,
        "rows": [[_json_value(row[field]) for field in results.FIELDS] for row in rows],
        "images": sorted({row["image"] for row in rows}),
        "common": sorted(results.common_images(rows)),
        "averages": [_average_data(codec, p) for codec, points in averages.items() for p in points],
        "curves": {m: [_curve_data(curve) for curve in curves[m]] for m in curves},
        "bd_rates": {codec: _bd_rate_data(curves, codec) for codec in anchors},
        "anchor": anchor,
        "shown": DEFAULT_PUBLISHED,
        "span": max_bpp,
        "pictures": list(pictures),
    }


def _json_value(value):
    return _finite(value) if isinstance(value, float) else value


def render(data: dict) -> str:
    """Returns the page for `report_data`."""
    with open(TEMPLATE, encoding="utf-8") as file:
        template = file.read()
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")  # no text of the data can end its element
    before, middle, after = template.partition("{{data}}")
    return before.replace("{{title}}", html.escape(data["title"])) + text + after


# Command --------------------------------------------------------------------------------------


def define_flags() -> None:
    bd_rate.define_published()
    flags.DEFINE_multi_string("images", [], "Folder, picture or quoted glob; may be repeated.")
    flags.DEFINE_list("chosen", [], "Pictures to show, by name; by default the first two.")
    program.define_model()
    flags.DEFINE_list("quality", [], "Qualities of ours to show; default: the model's own.")
    flags.DEFINE_list("against", "jpeg,webp,avif", f"Codecs to show, of {', '.join(LADDERS)}.")
    flags.DEFINE_string("anchor", None, "Codec that BD-rates are first shown against.")
    flags.DEFINE_string("title", None, "Title; by default from the name of the results.")
    flags.DEFINE_string("credit", "", "Line below the pictures: authors, licences.")
    flags.DEFINE_float("max_bpp", 1.5, "Right end of the charts at first.", lower_bound=0.01)
    flags.DEFINE_string("output", "report.html", "Page to write.")
    flags.DEFINE_float("max_megabytes", 8, "Largest page.", lower_bound=0.1)
    flags.DEFINE_bool("check", False, "Use the page in headless Chromium and say what failed.")
    flags.DEFINE_string("screenshots", None, "With --check: folder for pictures of the page.")


def make_pictures(f: flags.FlagValues) -> list[dict]:
    """Returns the pictures that the flags ask for, encoded and measured."""
    if not f.images:
        return []
    chosen = choose_images(f.images, f.chosen)
    for codec in f.against:
        if codec not in CONVENTIONAL:
            known = ", ".join(CONVENTIONAL)
            raise ExperimentError(f"--against: unknown codec {codec!r}; there are {known}.")
    rivals = [(CONVENTIONAL[codec](), LADDERS[codec]) for codec in f.against]
    ours = ours_at(f.model, f.quality)
    pictures = []
    for name, path in tqdm(chosen.items(), unit="picture"):
        image = read_image(path)
        pictures.append(picture_data(name, image, compare(image, ours, rivals)))
    return pictures


def main(f: flags.FlagValues, path: str) -> None:
    names = ("published", "anchor", "title", "max_bpp", "credit", "model")
    options = {name: f[name].value for name in names}
    report_data(path, **options)  # what is wrong with it, before the pictures' time is spent
    page = render(report_data(path, make_pictures(f), **options)).encode()
    if len(page) > f.max_megabytes * 1e6:
        raise ExperimentError(
            f"The page would have {len(page) / 1e6:.1f} MB, more than --max_megabytes "
            f"{f.max_megabytes:g}; choose fewer or smaller pictures or fewer qualities."
        )
    with open(f.output, "wb") as file:
        file.write(page)
    print(f"{f.output}: {len(page) / 1e6:.1f} MB")
    if f.check:
        print(check_page(f.output, f.screenshots))


if __name__ == "__main__":
    program.run(main, define_flags, ["RESULTS"])
