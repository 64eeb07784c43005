# after: tables
# The shop's prepared data, and the model that README's commands make of them.
recalign prepare table --input ratings.csv --items products.csv --columns user_id=customer --columns item_id=sku \
    --columns rating=stars --columns timestamp=date --item-columns title=name --like-above 3.5 --noun shoe \
    --output data/shoes
recalign tune --data data/shoes --output runs/shoes
