package io.mobilemod.app

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.RectF
import android.util.AttributeSet
import android.view.View
import io.mobilemod.core.Segmented
import io.mobilemod.core.maps.NONE
import io.mobilemod.core.maps.Palette
import kotlin.math.min

/**
 * A map of classes in colours, over a picture that is shown whole in the middle of the same place. The
 * GPU enlarges the map, each of its pixels to a block.
 */
class MapView(
    context: Context,
    attributes: AttributeSet?,
) : View(context, attributes) {
    // Not filtered: between two classes there is no third colour.
    private val paint = Paint()
    private var bitmap: Bitmap? = null
    private var shown: Segmented? = null
    private var mirrored = false

    /** [mirrored]: as the picture below is. */
    fun show(
        segmented: Segmented,
        mirrored: Boolean,
    ) {
        val (height, width) = segmented.map.size
        val colours = IntArray(width * height) { colour(segmented.map.code(it)) }
        shown = segmented
        bitmap = Bitmap.createBitmap(colours, width, height, Bitmap.Config.ARGB_8888)
        this.mirrored = mirrored
        invalidate()
    }

    /** The picture below is gone, or another. */
    fun clear() {
        shown = null
        bitmap = null
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        super.onDraw(canvas)
        val one = shown ?: return
        val colours = bitmap ?: return
        val picture = placed(one)
        val (left, top, right, bottom) = one.window

        fun x(share: Double) = picture.left + (share * picture.width()).toFloat()

        fun y(share: Double) = picture.top + (share * picture.height()).toFloat()
        if (mirrored) canvas.scale(-1f, 1f, width / 2f, height / 2f)
        canvas.drawBitmap(colours, null, RectF(x(left), y(top), x(right), y(bottom)), paint)
    }

    /** Where the picture is: whole, in the middle. */
    private fun placed(one: Segmented): RectF {
        val scale = min(width.toFloat() / one.width, height.toFloat() / one.height)
        val marginX = (width - one.width * scale) / 2
        val marginY = (height - one.height * scale) / 2
        return RectF(marginX, marginY, width - marginX, height - marginY)
    }

    private companion object {
        const val OPAQUE = 0xff shl 24

        fun colour(code: Int): Int = if (code == NONE) Color.TRANSPARENT else OPAQUE or Palette.colour(code)
    }
}
