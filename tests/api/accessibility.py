"""What WCAG 2.2 AA asks of a page, as far as a browser can tell: computed in the page, one line for each fault.

These checks are ours, not a library's: each is a small function in the page's own language, so that what is promised
can be read here. They find what is wrong in the page as it stands, styles and scripts applied.
"""

from __future__ import annotations

from tests.api.chromium import Browser

# Contrast as WCAG 2.2 computes it (1.4.3: 4.5 to 1, 3 to 1 for large text), against the nearest background behind it.
# What is disabled needs none, and so does text that only assistive technology meets.
_HELPERS = """
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const where = (element) => element.tagName.toLowerCase() + (element.id ? "#" + element.id : "")
    + (element.getAttribute("class") ? "." + element.getAttribute("class").split(" ").join(".") : "")
    + " " + JSON.stringify((element.textContent || "").trim().slice(0, 30));
  const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);
  const named = (id) => (document.getElementById(id)?.textContent || "").trim();
  const nameOf = (element) => (element.getAttribute("aria-label") || "").trim()
    || (element.getAttribute("aria-labelledby") || "").split(" ").map(named).join(" ").trim()
    || [...(element.labels || [])].map((label) => label.textContent).join(" ").trim()
    || (/^(INPUT|SELECT|TEXTAREA)$/.test(element.tagName) ? "" : element.textContent.trim());
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => rgb.slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const ratio = (one, other) => { const [light, dark] = [one, other].map(luminance).sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05); };
  const over = (front, back) => { const alpha = front.length < 4 ? 1 : front[3];
    return [0, 1, 2].map((index) => front[index] * alpha + back[index] * (1 - alpha)); };
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const colour = channels(getComputedStyle(element).backgroundColor);
    return colour.length < 4 || colour[3] === 1 ? colour : over(colour, behind(element.parentElement));
  };
  const opacity = (element) => element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
"""

_CHECKS = {
    "1.1.1 a picture without words": """all("img:not([alt]), svg:not([aria-hidden=true])")
        .filter((each) => each.tagName === "IMG" || each.getAttribute("role") !== "img" || !nameOf(each))""",
    "1.3.1 a field without a label": """all("input:not([type=hidden]), select, textarea")
        .filter((each) => !nameOf(each))""",
    "1.3.1 choices without a common name": """all("input[type=radio]").filter((each) =>
        !(each.closest("fieldset")?.querySelector("legend")?.textContent.trim()))""",
    "1.3.1 headings that leave a level out": """all("h1, h2, h3, h4, h5, h6").filter((each, place, list) =>
        Number(each.tagName[1]) > (place ? Number(list[place - 1].tagName[1]) : 0) + 1)""",
    "1.3.1 a table heading without a scope": """all("table th:not([scope])")""",
    "1.3.1 a description that is not there": """all("[aria-describedby], [aria-labelledby]").filter((each) =>
        [...(each.getAttribute("aria-describedby") || "").split(" "),
         ...(each.getAttribute("aria-labelledby") || "").split(" ")].some((id) =>
           id && !document.getElementById(id)))""",
    "1.4.3 contrast": """all("body *:not(option, title, svg *)").filter((each) => !each.closest("[disabled]")
        && each.getBoundingClientRect().width > 1
        && [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())).filter((each) => {
      const style = getComputedStyle(each), size = parseFloat(style.fontSize);
      const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
      const back = behind(each), colour = channels(style.color);
      const shown = over([...colour.slice(0, 3), (colour[3] ?? 1) * opacity(each)], back);
      return ratio(shown, back) < needed - 0.005; })""",
    "1.4.10 wider than the window": """document.documentElement.scrollWidth > window.innerWidth
        ? [document.documentElement] : []""",
    "1.4.11 a field's edge": """all("input:not([type=hidden], [type=radio], [type=checkbox]), select, textarea")
        .filter((each) => ratio(channels(getComputedStyle(each).borderTopColor), behind(each.parentElement)) < 3)""",
    "2.1.1 a part that scrolls and no key reaches": """all("*").filter((each) =>
        /(auto|scroll)/.test(getComputedStyle(each).overflowX) && each.scrollWidth > each.clientWidth + 1
        && each.tabIndex < 0 && !each.querySelector("a, button, input, select, textarea"))""",
    "2.4.1 no way past the header": """document.querySelector("a[href^='#']") === document.querySelector("a")
        && document.querySelector(document.querySelector("a")?.getAttribute("href") || "a") ? [] : [document.body]""",
    "2.4.2 no title": "document.title.trim() ? [] : [document.head]",
    "2.4.3 an order of its own": """all("[tabindex]").filter((each) => Number(each.getAttribute("tabindex")) > 0)""",
    "2.4.4 a link or button without a name": """all("a, button, summary").filter((each) => !nameOf(each)
        && !each.querySelector("img[alt]:not([alt=''])"))""",
    "2.4.6 not one main heading": """all("h1").length === 1 ? [] : [document.body]""",
    "2.5.8 a target too small": """all("button, select, summary, input:not([type=hidden]), textarea").filter((each) => {
      const label = each.matches("[type=radio], [type=checkbox]") ? each.closest("label") || each : each;
      const box = label.getBoundingClientRect();
      return Math.min(box.width, box.height) < 24; })""",
    "3.1.1 no language": """/^(en|fil|zh)$/.test(document.documentElement.lang) ? [] : [document.documentElement]""",
    "4.1.1 the same id twice": """[...document.querySelectorAll("[id]")].filter((each, _place, list) =>
        list.filter((other) => other.id === each.id).length > 1)""",
    "4.1.2 a region without a name": """all("nav, section, aside, [role=region], form[role], dialog").filter((each) =>
        !(each.getAttribute("aria-label") || (each.getAttribute("aria-labelledby") && nameOf(each)))
        && !(each.tagName === "SECTION" && each.querySelector("h1")))""",
    "1.3.6 landmarks": """["header", "main", "footer"]
        .filter((name) => document.querySelectorAll("body > " + name).length !== 1).map(() => document.body)""",
    "4.1.3 a notice that nobody hears": """all(".notice").filter((each) =>
        !each.matches("[role=status], [role=alert]") && !each.querySelector("[role=status], [role=alert]"))""",
    "4.1.3 no place for what happens": """document.querySelector("#toast[role=status]") ? [] : [document.body]""",
}


def faults_of(browser: Browser) -> list[str]:
    """What is wrong with the page: criterion and place, one line each."""
    checks = ",\n".join(f"[{name!r}, () => {check}]" for name, check in _CHECKS.items())
    found = browser.evaluate(
        f"(() => {{ {_HELPERS} return [{checks}].flatMap(([name, check]) =>"
        " check().map((each) => name + ': ' + where(each))); })()"
    )
    return [str(each) for each in found]


def unseen_focus(browser: Browser, most_stops: int = 200) -> list[str]:
    """Stops of the tab key at which the focus cannot be seen (2.4.7), or is wholly hidden behind something (2.4.11)."""
    faults = []
    browser.evaluate("void document.activeElement.blur()")
    for _ in range(most_stops):
        browser.press_tab()
        stop = browser.evaluate(
            f"""(() => {{ {_HELPERS}
              const each = document.activeElement;
              if (each === document.body || each.dataset.stopped) return null;
              each.dataset.stopped = "1";
              const style = getComputedStyle(each), box = each.getBoundingClientRect();
              const visible = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
              const target = each.matches("[type=radio], [type=checkbox]") ? each.closest("label") || each : each;
              const at = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
              const covered = at && !target.contains(at) && !at.contains(each);
              return [visible && !covered, where(each)]; }})()"""
        )
        if stop is None:
            break
        if not stop[0]:
            faults.append(stop[1])
    return faults
