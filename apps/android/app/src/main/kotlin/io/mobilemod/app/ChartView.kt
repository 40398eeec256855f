package io.mobilemod.app

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.Path
import android.util.AttributeSet
import android.view.View
import io.mobilemod.core.Ticks
import io.mobilemod.core.thinned

/** Milliseconds over seconds, with round numbers along both axes. */
class ChartView(
    context: Context,
    attributes: AttributeSet?,
) : View(context, attributes) {
    private val density = resources.displayMetrics.density
    private val line = Paint(Paint.ANTI_ALIAS_FLAG)
    private val grid = Paint()
    private val text = Paint(Paint.ANTI_ALIAS_FLAG)
    private val path = Path()
    private var points = emptyList<Pair<Double, Double>>()

    init {
        line.style = Paint.Style.STROKE
        line.strokeWidth = 2 * density
        line.color = context.getColor(R.color.primary)
        grid.color = context.getColor(R.color.outline)
        text.color = context.getColor(R.color.on_surface_variant)
        text.textSize = TEXT_SP * resources.configuration.fontScale * density
    }

    /** Shows ([second, ms]) in the order of time. */
    fun show(series: List<Pair<Double, Double>>) {
        points = thinned(series, MOST_POINTS)
        visibility = if (points.size < 2) GONE else VISIBLE
        if (points.size >= 2) {
            val values = points.map { it.second }
            contentDescription = context.getString(R.string.chart, points.last().first, values.min(), values.max())
        }
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        super.onDraw(canvas)
        if (points.size < 2) return
        val down = Ticks.of(0.0, points.maxOf { it.second })
        val across = Ticks.of(points.first().first, points.last().first)
        val left = down.maxOf { text.measureText(label(it)) } + GAP_DP * density
        val bottom = height - text.textSize - GAP_DP * density

        fun x(at: Double) = left + ((at - across.first()) / (across.last() - across.first()) * (width - left)).toFloat()

        fun y(value: Double) = bottom - ((value - down.first()) / (down.last() - down.first()) * (bottom - text.textSize)).toFloat()

        for (tick in down) {
            canvas.drawLine(left, y(tick), width.toFloat(), y(tick), grid)
            canvas.drawText(label(tick), 0f, y(tick) + text.textSize / 3, text)
        }
        for (tick in across) {
            canvas.drawLine(x(tick), bottom, x(tick), bottom + GAP_DP * density / 2, grid)
            val wide = text.measureText(label(tick))
            canvas.drawText(label(tick), (x(tick) - wide / 2).coerceAtMost(width - wide), height.toFloat() - text.descent(), text)
        }
        path.reset()
        points.forEachIndexed { i, (at, value) -> if (i == 0) path.moveTo(x(at), y(value)) else path.lineTo(x(at), y(value)) }
        canvas.drawPath(path, line)
    }

    private companion object {
        const val MOST_POINTS = 200
        const val TEXT_SP = 12
        const val GAP_DP = 6

        fun label(value: Double): String = if (value % 1.0 == 0.0) value.toInt().toString() else "%.2f".format(value).trimEnd('0')
    }
}
