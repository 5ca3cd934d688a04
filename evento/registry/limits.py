"""The limits of what a deployment may bring, in one place, each with its unit."""

MANIFEST_BYTES_MAX = 1024 * 1024  # one YAML file
MANIFEST_FILES_MAX = 2_000
DOCUMENTS_MAX = 20_000
NODES_MAX = 100_000  # values in one YAML file or JSON document
DEPTH_MAX = 64  # nesting of one document
SCHEMA_FILE_BYTES_MAX = 256 * 1024  # one .avsc file
SCHEMA_FILES_BYTES_MAX = 64 * 1024 * 1024  # all .avsc files of a deployment, with those beside the ones that manifests name
DESCRIPTION_BYTES_MAX = 16 * 1024 * 1024  # what a Python module's description may print
CATALOG_BYTES_MAX = 16 * 1024 * 1024  # one catalog version: what one deployment changes
CONTENT_FILES_MAX = 10_000  # files in a function's revision
CONTENT_BYTES_MAX = 512 * 1024 * 1024  # their size in all
VALUE_CHARACTERS_MAX = 120  # of a refused value, as shown in a problem
