"""The shop: WebShop's pages, search and reward in plain Python, official and generated catalogues."""
