"""Opens a page of report.py in a headless Chromium and uses it as a reader would.

    python -m experiments.report.report_check report.html --screenshots /tmp/pictures

The mouse points at a chart, legend, anchor, divider, zoom and keys are used, and after each step the
page is asked what it shows. Nothing may be written to the console as an error, nothing may be loaded
but the file itself, and nothing may be wider than a phone. The BD-rates of the table are compared
with the area between the curves that the page draws. Prints one line; ten seconds.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable

from absl import flags

from experiments.common import browser, program
from experiments.common.browser import PHONE, WIDE, Browser, centre, check_width, require

BD_RATE_TOLERANCE = 0.01  # percentage points: Simpson's rule in the page against Python's integral


def check_headline(page: Browser) -> None:
    """The tiles have the figures of the curves that the page was given to begin with."""
    wrong = page.evaluate(
        """(() => {
          const { plain, refined } = data.headline;
          const figure = (anchor, codec) => percent(data.bd_rates[anchor][codec][METRICS[0]][0]);
          return [...document.querySelectorAll(".tile")].filter((tile) => {
            const anchor = tile.dataset.anchor, small = tile.querySelector(".refined");
            return tile.querySelector("b").textContent !== figure(anchor, plain)
              || (small && !small.textContent.startsWith(figure(anchor, refined)));
          }).map((tile) => tile.textContent);
        })()"""
    )
    require(not wrong, f"tiles with other figures than the headline's: {wrong}")


def check_names(page: Browser) -> None:
    """Every curve has its whole name beside it, inside the chart, and no two names overlap."""
    wrong = page.evaluate(
        """charts.filter((chart) => !chart.narrow).flatMap((chart) => {
          const box = chart.svg.getBoundingClientRect();
          const texts = chart.series.map((s) => chart.groups.get(s.key).names.querySelector("text"));
          const rows = texts.flatMap((t) => [...t.children].map((c) => c.getBoundingClientRect()));
          return texts.filter((text, i) => {
            const words = [...text.children].map((c) => c.textContent).join(" ");
            const place = text.getBoundingClientRect();
            return words.replaceAll(" ", "") !== chart.series[i].short.replaceAll(" ", "")
              || place.right > box.right + 1;
          }).map((text) => text.textContent).concat(rows.flatMap((a, i) => rows.slice(i + 1)
            .filter((b) => Math.abs(a.top - b.top) < 9).map(() => "two names in one place")));
        })"""
    )
    require(not wrong, f"names in the charts: {wrong}")


def check_hover(page: Browser) -> None:
    """Pointing at a chart reads out values, elsewhere others, in both charts at once."""
    x, y = centre(page, ".plot svg")
    texts = []
    for shift in (-60, 20):
        page.mouse("Moved", x + shift, y)
        texts.append(page.evaluate("charts[0].readout.innerText"))
    require(all("bpp" in text for text in texts), "pointing at a chart reads out nothing")
    require(texts[0] != texts[1], "the values do not follow the pointer")
    dots = page.evaluate("charts.map((c) => c.svg.querySelectorAll('circle').length)")
    require(min(dots) > 0, f"not every chart marks the cross-hair, {dots} dots")
    require(not page.evaluate("charts[0].tip.hidden"), "no curve is near the pointer")
    page.mouse("Moved", 1, 1)
    require(page.evaluate("state.bpp === null"), "the cross-hair stays when the pointer has left")
    page.evaluate("document.querySelector('.plot svg').focus()")
    page.key("ArrowRight")
    require(page.evaluate("state.bpp > 0"), "arrow keys do not move the cross-hair")
    page.evaluate("document.activeElement.blur()")


def check_legend(page: Browser) -> None:
    """A name hides its curve and brings it back."""
    count = "document.querySelectorAll('.plot path.curve').length"
    before = page.evaluate(count)
    page.evaluate("document.querySelector('.chip[aria-pressed=true]').click()")
    hidden = page.evaluate(count)
    page.evaluate("document.querySelector('.chip[aria-pressed=false]').click()")
    require(0 <= hidden < before, f"a name of the legend hides nothing, {before} curves")


def check_curves(page: Browser) -> None:
    """The curves that the page draws have the BD-rates of its table."""
    worst = page.evaluate(
        """(() => {
          let worst = 0;
          for (const metric of METRICS) {
            const all = seriesOf(metric, "");
            for (const anchor of all) for (const test of all) {
              const rate = (data.bd_rates[anchor.codec] || {})[test.codec]?.[metric]?.[0];
              if (rate !== undefined) worst = Math.max(worst, Math.abs(rate - bdRate(anchor, test)));
            }
          }
          return worst;
        })()"""
    )
    require(worst < BD_RATE_TOLERANCE, f"curves and table differ by {worst} percentage points")


def check_anchor(page: Browser) -> None:
    """Another anchor gives another table, with the figures that the page was given."""
    if not page.evaluate("!!document.querySelector('#anchor')"):
        return
    for anchor in page.evaluate(
        "[...document.querySelectorAll('#anchor option')].map(o => o.value)"
    ):
        wrong = page.evaluate(
            f"""(() => {{
              const select = document.querySelector("#anchor");
              select.value = {json.dumps(anchor)};
              select.dispatchEvent(new Event("change"));
              const rows = [...document.querySelectorAll("#bd tbody tr")];
              return rows.filter((row) => {{
                const wanted = METRICS.map((m) => data.bd_rates[select.value][row.dataset.codec][m]);
                const shown = [...row.querySelectorAll(".bar .number")].map((n) => n.textContent);
                return wanted.some((w, i) => shown[i] !== (w ? percent(w[0]) : "–"));
              }}).length + (rows.length ? 0 : 1);
            }})()"""
        )
        require(wrong == 0, f"the table against {anchor} has {wrong} wrong rows")


def check_pictures(page: Browser) -> None:
    """Divider, zoom, drag, keys and thumbnails do what they say."""
    if not page.evaluate("data.pictures.length"):
        return
    x, y = centre(page, ".handle")
    shift = 0.3 * page.evaluate("document.querySelector('.canvas').offsetWidth")
    page.drag((x, y), (x - shift, y))
    clip = "getComputedStyle(document.querySelectorAll('.layer')[1]).clipPath"
    left = page.evaluate("document.querySelector('.handle').getBoundingClientRect().left + 22")
    off = abs(left - (x - shift))
    require(off < 2, f"the divider is {off:.0f} pixels off the pointer")
    share = page.evaluate(f"parseFloat({clip}.split(' ').pop())")
    now = page.evaluate("+document.querySelector('.handle').ariaValueNow")
    require(abs(share - now) <= 1, f"the divider says {now} %, the picture is cut at {share} %")
    page.evaluate("document.querySelector('.handle').focus()")
    page.key("ArrowRight")
    require(
        page.evaluate("+document.querySelector('.handle').ariaValueNow") > now, "arrow keys fail"
    )

    for mode in ("slider", "side by side"):
        page.evaluate(f"[...$('mode').children].find(b => b.textContent === '{mode}').click()")
        page.evaluate("[...$('zooms').children].find(b => b.textContent === '800 %').click()")
        sizes = page.evaluate("[...document.querySelectorAll('.canvas')].map(c => c.offsetWidth)")
        wanted = 8 * page.evaluate("picture().width")
        require(set(sizes) == {wanted}, f"{mode} at 800 %: widths {sizes}, not {wanted}")
        style = page.evaluate(
            "getComputedStyle(document.querySelector('.layer img')).imageRendering"
        )
        require(style == "pixelated", f"pixels at 800 % are {style}")
        x, y = centre(page, ".pane")
        corner = "[...document.querySelectorAll('.canvas')].map(c => [c.offsetLeft, c.offsetTop])"
        before = page.evaluate(corner)
        page.drag((x + 80, y), (x + 45, y - 25))  # beside the divider
        moved = page.evaluate(corner)
        follows = before != moved or not page.evaluate("viewer.pannable")
        require(follows and len(set(map(tuple, moved))) == 1, f"{mode}: pictures do not follow")
        page.evaluate("[...$('zooms').children].find(b => b.textContent === 'fit').click()")
    page.evaluate("[...$('mode').children].find(b => b.textContent === 'slider').click()")
    for index in range(page.evaluate("data.pictures.length")):
        page.evaluate(f"$('thumbs').children[{index}].click()")
        broken = page.evaluate(
            "Promise.all([...document.querySelectorAll('.canvas img')].map(i => i.decode().then("
            "() => i.naturalWidth === picture().width && i.naturalHeight === picture().height))"
            ").then(all => all.filter(good => !good).length)"
        )
        require(broken == 0, f"{broken} embedded pictures have another size than the original")
    page.evaluate("$('thumbs').children[0].click()")


CHECKS: tuple[Callable[[Browser], None], ...] = (
    check_headline,
    check_names,
    check_hover,
    check_legend,
    check_curves,
    check_anchor,
    check_pictures,
    check_width,
)


def check_page(path: str, screenshots: str | None = None) -> str:
    """Uses a page in wide and narrow windows, light and dark.

    Args:
        path: of the page.
        screenshots: folder for a picture of each window; None for none.

    Returns:
        A line that says what was done; it begins with "check skipped" where there is no browser.

    Raises:
        ExperimentError: with the first thing that is not as it should be.
    """
    program_path = browser.find_browser()
    if program_path is None:
        return browser.MISSING
    if screenshots:
        os.makedirs(screenshots, exist_ok=True)
    with browser.start_browser(program_path) as page:
        for name, size, dark in (("wide", WIDE, False), ("phone", PHONE, True)):
            browser.show(page, size, dark)
            page.open(path)
            for check in CHECKS:
                check(page)
            for scheme in ("light", "dark") if screenshots else ():
                browser.show(page, size, scheme == "dark")
                page.open(path)
                page.screenshot(os.path.join(screenshots, f"{name}_{scheme}.png"))
        require(not page.errors, f"errors on the console: {page.errors}")
        here = pathlib.Path(path).resolve().as_uri()
        foreign = sorted({url for url in page.requests if url != here})
        require(not foreign, f"it asks for {', '.join(foreign)}")
    names = ", ".join(check.__name__[len("check_") :] for check in CHECKS)
    used = os.path.basename(program_path)
    return f"check passed in {used}: {names}; wide and phone; console is silent"


def define_flags() -> None:
    flags.DEFINE_string("screenshots", None, "Folder for pictures of the page.")


def main(f: flags.FlagValues, page: str) -> None:
    print(check_page(page, f.screenshots))


if __name__ == "__main__":
    program.run(main, define_flags, ["PAGE"])
