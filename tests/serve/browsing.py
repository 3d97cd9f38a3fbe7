"""What people do on the page, in a real browser."""


def visit(page, server):
    page.goto(server.url)
    page.wait_for_selector("#method option", state="attached")


def watched(page, server):
    """Problems that a page has from now on: errors, and requests to others."""
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(server.url) else problems.append(r.url))
    return problems


def adjust(page, **fields):
    """Settings, in their drawer."""
    page.click("#open-settings")
    for name, value in fields.items():
        if name == "method":
            page.select_option("#method", value)
        elif isinstance(value, bool):
            page.set_checked(f"#{name}", value)
        else:
            page.fill(f"#{name}", str(value))
    page.click("#close-settings")
