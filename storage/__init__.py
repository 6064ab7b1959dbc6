"""Storage: alone knows paths, buckets and formats.

`root` opens a folder or bucket, `keys` and `fingerprint` name a unit, `manifests` commit it,
`versions` number the states of a data set, `tables` and `shards` hold the formats.
"""
