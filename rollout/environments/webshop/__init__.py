"""The WebShop environment: its pages, search and reward in plain Python, official and generated catalogs."""
