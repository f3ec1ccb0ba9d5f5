"""stub"""
def lower(ticket):
    class X:
        def logits(self, images):
            import numpy as np
            return np.zeros((len(images),10))
    return X()
