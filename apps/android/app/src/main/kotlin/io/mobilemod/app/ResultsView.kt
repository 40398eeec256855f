package io.mobilemod.app

import android.content.Context
import android.util.AttributeSet
import android.view.LayoutInflater
import android.view.View
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import io.mobilemod.core.Labelled

/** The best classes, a bar each. Read out as one text per class. */
class ResultsView(
    context: Context,
    attributes: AttributeSet?,
) : LinearLayout(context, attributes) {
    private val rows = ArrayList<View>()

    init {
        orientation = VERTICAL
    }

    /** Shows [top], best first. */
    fun show(top: List<Labelled>) {
        while (rows.size > top.size) removeView(rows.removeAt(rows.size - 1))
        while (rows.size < top.size) {
            val row = LayoutInflater.from(context).inflate(R.layout.result_row, this, false)
            rows.add(row)
            addView(row)
        }
        top.forEachIndexed { i, one -> bind(rows[i], one) }
    }

    private fun bind(
        row: View,
        one: Labelled,
    ) {
        val percent = 100 * one.probability
        row.findViewById<TextView>(R.id.label).text = one.label
        row.findViewById<TextView>(R.id.share_text).text = context.getString(R.string.percent, percent)
        row.findViewById<ProgressBar>(R.id.bar).progress = (MAX * one.probability).toInt()
        row.contentDescription = context.getString(R.string.result, one.label, percent)
    }

    private companion object {
        const val MAX = 1000
    }
}
