"""Ranked search by words, as Lucene does it: terms, stems and BM25."""
