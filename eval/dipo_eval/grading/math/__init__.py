"""Is this mathematical answer the reference's value?"""
