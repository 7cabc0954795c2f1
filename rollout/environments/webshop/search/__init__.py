"""Ranked text search equivalent to Lucene's: terms, stems and BM25."""
