"""WebShop's pages, search and reward in plain Python, with official and generated catalogs."""
