from typing import dataclass_transform

@dataclass_transform(kw_only_default=True)
class BaseModel: ...
