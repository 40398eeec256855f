package io.mobilemod.app

import android.content.Context
import android.util.AttributeSet
import android.view.LayoutInflater
import android.view.View
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import io.mobilemod.core.Labelled
import io.mobilemod.core.maps.Palette

/** The best classes, or those of a map with their colours, a bar each. Read out as one text per class. */
class ResultsView(
    context: Context,
    attributes: AttributeSet?,
) : LinearLayout(context, attributes) {
    private val rows = ArrayList<View>()

    init {
        orientation = VERTICAL
    }

    /** Shows [top], best first. [colours]: with those of a map. */
    fun show(
        top: List<Labelled>,
        colours: Boolean,
    ) {
        while (rows.size > top.size) removeView(rows.removeAt(rows.size - 1))
        while (rows.size < top.size) {
            val row = LayoutInflater.from(context).inflate(R.layout.result_row, this, false)
            rows.add(row)
            addView(row)
        }
        top.forEachIndexed { i, one -> bind(rows[i], one, colours) }
    }

    private fun bind(
        row: View,
        one: Labelled,
        colours: Boolean,
    ) {
        val percent = 100 * one.share
        val swatch = row.findViewById<View>(R.id.swatch)
        swatch.visibility = if (colours) VISIBLE else GONE
        if (colours) swatch.setBackgroundColor(OPAQUE or Palette.colour(one.index))
        row.findViewById<TextView>(R.id.label).text = one.label
        row.findViewById<TextView>(R.id.share_text).text = context.getString(R.string.percent, percent)
        row.findViewById<ProgressBar>(R.id.bar).progress = (MAX * one.share).toInt()
        row.contentDescription = context.getString(R.string.result, one.label, percent)
    }

    private companion object {
        const val MAX = 1000
        const val OPAQUE = 0xff shl 24
    }
}
