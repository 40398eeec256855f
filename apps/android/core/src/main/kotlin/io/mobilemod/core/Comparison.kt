package io.mobilemod.core

/** What two files say of one picture, and over all pictures so far how alike they were, in percent. */
class Compared(
    val first: Classification,
    val second: Classification,
    val pictures: Int,
    val alikePercent: Double,
)

/**
 * Two model files on the same pictures, the one to begin alternating. Alike is a picture whose best
 * class is the same; of maps, the share of its pixels that have the same class. For one thread at a time.
 */
class Comparison(
    val first: Classifier,
    val second: Classifier,
) {
    private var pictures = 0
    private var alike = 0.0

    /** Both files' answers to [image]; see [Classifier.classify]. */
    fun classify(
        image: DecodedImage,
        smooth: Boolean = false,
    ): Compared {
        val early = if (pictures % 2 == 0) first else second
        val one = early.classify(image, smooth = smooth)
        val other = (if (early === first) second else first).classify(image, smooth = smooth)
        val (a, b) = if (early === first) one to other else other to one
        pictures++
        alike += share(a, b)
        return Compared(a, b, pictures, 100 * alike / pictures)
    }

    private fun share(
        a: Classification,
        b: Classification,
    ): Double {
        val (map, other) = a.segmented?.map to b.segmented?.map
        if (map != null && other != null) return map.alikePercent(other) / 100
        return if (a.top.isNotEmpty() && a.top.first().index == b.top.firstOrNull()?.index) 1.0 else 0.0
    }
}
