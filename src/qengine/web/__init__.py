"""The web dashboard: `dashboard(engine, …)`, an ASGI app to serve by itself or to mount in one's own. Needs the extra `web`."""

from qengine.errors import ConfigurationError

try:
    from qengine.web.app import dashboard
    from qengine.web.masking import MASKED, Mask, mask_secrets
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] not in ("starlette", "jinja2", "markupsafe"):
        raise
    raise ConfigurationError(f"the dashboard needs the module {missing.name}; pip install 'qengine[web]'") from missing

__all__ = ["MASKED", "Mask", "dashboard", "mask_secrets"]
