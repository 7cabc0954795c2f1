"""Ranked lexical search as in Lucene: terms, stems and BM25."""
