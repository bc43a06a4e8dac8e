"""The flat world: shapes that move over a background, and the judge that reads them off the pixels."""
