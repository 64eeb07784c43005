# after: shoes
# The shop's prepared data, and its nano in the cache.
rm -r runs
