"""Find the digit that 100 images share, without labels: co-localisation, appendix A.2 of STN."""
