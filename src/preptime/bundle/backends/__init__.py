"""Storage backends of a store, one file for each kind of storage. They implement `store.StorageBackend`.

Files and bundles appear complete or not at all, also after a crash.
"""
