import { CloseButton, Menu } from '@mantine/core';
import { ChevronDown, Search, X } from 'lucide-react';
import type { Ref } from 'react';
import { useText } from '../../../i18n/text';
import { holds, visible, type Facet, type Filter } from '../model';
import css from '../resources.module.css';

interface Props {
  ref: Ref<HTMLInputElement>;
  value: string;
  filter: Filter;
  facets: Facet[];
  onChange: (value: string) => void;
  onToggle: (key: string, value: string) => void;
}

/** One box: words and labels as in the command line, known labels at its right, chips below. */
export function FilterBox({ ref, value, filter, facets, onChange, onToggle }: Props) {
  const { t, language } = useText();
  return (
    <search className={css.filter}>
      <div className={css.box}>
        <Search size={16} aria-hidden />
        <input
          ref={ref}
          type="text"
          name="filter"
          value={value}
          placeholder={t('resources.filter')}
          aria-label={t('resources.filter.label')}
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
          maxLength={1000}
          onChange={(e) => onChange(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key !== 'Escape') return;
            if (value) onChange('');
            else e.currentTarget.blur();
          }}
        />
        {value ? (
          <CloseButton size="sm" aria-label={t('resources.clear')} onClick={() => onChange('')} />
        ) : (
          <kbd className={css.key} aria-hidden>
            /
          </kbd>
        )}
        <Menu position="bottom-end" width={280} closeOnItemClick={false} returnFocus>
          <Menu.Target>
            <button type="button" className={css.facets}>
              {t('resources.facets')}
              <ChevronDown size={14} aria-hidden />
            </button>
          </Menu.Target>
          <Menu.Dropdown className={css.facetList ?? ''}>
            {facets.length === 0 && <Menu.Item aria-disabled="true" closeMenuOnClick>{t('resources.facets.none')}</Menu.Item>}
            {facets.map(({ key, value: v, count }) => {
              const on = holds(filter, key, v);
              return (
                <Menu.CheckboxItem
                  key={`${key}\0${v}`}
                  checked={on}
                  onChange={() => onToggle(key, v)}
                  rightSection={<span className={css.facetCount}>{new Intl.NumberFormat(language).format(count)}</span>}
                >
                  <bdi>{visible(`${key}=${v}`)}</bdi>
                </Menu.CheckboxItem>
              );
            })}
          </Menu.Dropdown>
        </Menu>
      </div>
      {filter.labels.length > 0 && (
        <ul className={css.chips}>
          {filter.labels.map(([k, v]) => (
            <li key={`${k}\0${v}`}>
              <button type="button" className={css.chip} data-on aria-pressed onClick={() => onToggle(k, v)}>
                <bdi>{visible(`${k}=${v}`)}</bdi>
                <X size={12} aria-hidden />
              </button>
            </li>
          ))}
        </ul>
      )}
    </search>
  );
}
