package io.mobilemod.core.maps

/** The colours of classes, as reports have them, 0xRRGGBB. */
object Palette {
    private const val NOTHING = 0xe8e8e8
    private const val HIGHEST_BIT = 7
    private val colours = IntArray(NONE + 1) { if (it == NONE) NOTHING else byBits(it + 1) }

    fun colour(code: Int): Int = colours[code]

    /**
     * By the bits of the class's number. Source: the colour map of the PASCAL VOC development kit,
     * from its colour 1 on, for its colour 0 is black.
     */
    private fun byBits(number: Int): Int {
        var colour = 0
        for (step in 0..HIGHEST_BIT) {
            val bits = number shr 3 * step
            for (channel in 0..2) {
                colour = colour or ((bits shr channel and 1) shl (16 - 8 * channel + HIGHEST_BIT - step))
            }
        }
        return colour
    }
}
