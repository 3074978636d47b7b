"""Where the pipeline finds its database and the servers it talks to: the environment, as in production."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    database: str
    """sqlite:///… or postgresql://…"""
    smtp: tuple[str, int]
    web: str
    """The address of the web server, http://host:port"""
    folder: Path
    """Where the pages that were fetched are kept for a while."""

    @classmethod
    def from_environment(cls) -> "Settings":
        host, port = os.environ["PIPELINE_SMTP"].split(":")
        return cls(
            database=os.environ["PIPELINE_DATABASE"],
            smtp=(host, int(port)),
            web=os.environ["PIPELINE_WEB"],
            folder=Path(os.environ["PIPELINE_FOLDER"]),
        )


settings = Settings.from_environment()
