# after: shoes
# The shop's tables and the shop's nano in the cache, for pages that prepare and tune themselves.
rm -r data runs
