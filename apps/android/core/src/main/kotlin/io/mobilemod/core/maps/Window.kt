package io.mobilemod.core.maps

import io.mobilemod.core.PreprocessSpec
import kotlin.math.max
import kotlin.math.min

/** A part of an upright image, edges as fractions of its sides; beyond it where there are bars. */
data class Window(
    val left: Double,
    val top: Double,
    val right: Double,
    val bottom: Double,
) {
    /** The map with [NONE] where it lies on bars beside the image. */
    fun withoutBars(map: ClassMap): ClassMap {
        fun inside(
            begin: Double,
            end: Double,
            at: Int,
            count: Int,
        ) = begin + (at + 0.5) / count * (end - begin) in 0.0..1.0

        val (height, width) = map.size
        val codes =
            ByteArray(map.codes.size) {
                val seen = inside(left, right, it % width, width) && inside(top, bottom, it / width, height)
                if (seen) map.codes[it] else NONE.toByte()
            }
        return ClassMap(map.size, codes)
    }
}

/** The part of an upright image of so many pixels that becomes the network's input, and so that its map covers. */
fun PreprocessSpec.window(
    imageWidth: Int,
    imageHeight: Int,
): Window {
    val across = width / cropFraction / imageWidth
    val down = height / cropFraction / imageHeight
    val (byWidth, byHeight) =
        when (fit) {
            PreprocessSpec.Fit.STRETCH -> across to down
            PreprocessSpec.Fit.CROP -> max(across, down).let { it to it }
            PreprocessSpec.Fit.LETTERBOX -> min(across, down).let { it to it }
        }
    val marginX = (1 - width / (imageWidth * byWidth)) / 2
    val marginY = (1 - height / (imageHeight * byHeight)) / 2
    return Window(marginX, marginY, 1 - marginX, 1 - marginY)
}
