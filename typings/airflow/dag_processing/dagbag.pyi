from pathlib import Path
from typing import Any

class BundleDagBag:
    dags: dict[str, Any]
    import_errors: dict[str, str]
    def __init__(self, dag_folder: str, *, bundle_path: Path, bundle_name: str) -> None: ...
