package io.mobilemod.core.maps

import io.mobilemod.core.PreprocessSpec
import kotlin.math.max

/** A part of an upright image, edges as fractions of its sides. */
data class Window(
    val left: Double,
    val top: Double,
    val right: Double,
    val bottom: Double,
)

/** The part of an upright image of so many pixels that becomes the network's input, and so that its map covers. */
fun PreprocessSpec.window(
    imageWidth: Int,
    imageHeight: Int,
): Window {
    val across = width / cropFraction / imageWidth
    val down = height / cropFraction / imageHeight
    val covering = max(across, down)
    val (byWidth, byHeight) = if (fit == PreprocessSpec.Fit.STRETCH) across to down else covering to covering
    val marginX = (1 - width / (imageWidth * byWidth)) / 2
    val marginY = (1 - height / (imageHeight * byHeight)) / 2
    return Window(marginX, marginY, 1 - marginX, 1 - marginY)
}
