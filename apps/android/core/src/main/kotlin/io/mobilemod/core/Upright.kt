package io.mobilemod.core

/** An image after its EXIF orientation, without a copy: a start and two steps into [argb]. */
internal class Upright(
    image: DecodedImage,
) {
    val argb = image.argb
    private val turned = image.orientation in 5..8
    val width = if (turned) image.height else image.width
    val height = if (turned) image.width else image.height
    val stepX: Int
    val stepY: Int
    val origin: Int

    init {
        // Whether the stored columns and rows are walked backwards: EXIF 2.32, tag 0x0112.
        val backX = image.orientation in setOf(2, 3, 7, 8)
        val backY = image.orientation in setOf(3, 4, 6, 7)
        val column = if (backX) -1 else 1
        val row = if (backY) -image.width else image.width
        stepX = if (turned) row else column
        stepY = if (turned) column else row
        origin = (if (backX) image.width - 1 else 0) + (if (backY) (image.height - 1) * image.width else 0)
    }
}
